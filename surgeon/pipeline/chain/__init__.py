"""The links of a chain of folders: data, cut, training, evaluation, report; each is read again and compared with the next."""
