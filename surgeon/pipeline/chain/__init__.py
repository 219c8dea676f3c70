"""The checks of `surgeon verify`: data, cut, training, evaluation and report, each compared with the next."""
