"""A page that a person wrote into is kept, and told of."""

from surgeon.ownership.manifest import write_manifest
from surgeon.ownership.pages import lacking, write_page


def test_notes_in_a_page_are_kept_and_told_of(tmp_path, capsys):
    write_manifest(tmp_path, "reproduction", files=False)
    page = tmp_path / "table.md"
    assert write_page(tmp_path, "table.md", "one", before="none")
    assert write_page(tmp_path, "table.md", "two", before="one")
    assert not capsys.readouterr().err
    page.write_text("two, and my notes")
    assert not write_page(tmp_path, "table.md", "three", before="two")
    assert page.read_text() == "two, and my notes"
    assert f"{page} was changed since surgeon wrote it, and is kept as it is" in capsys.readouterr().err
    page.unlink()
    assert write_page(tmp_path, "table.md", "three", before="two") and page.read_text() == "three"


def test_a_page_without_a_hash_is_known_by_the_text_that_was_written(tmp_path):
    (tmp_path / "table.md").write_text("one")
    assert write_page(tmp_path, "table.md", "two", before="one")
    assert not write_page(tmp_path, "table.md", "three", before="one")


def test_notes_around_what_is_ours_are_told_from_changes_of_it():
    ours = "## head\n\ntext\n\n| row | share |\n|---|---|\n| kap | 52.2 |\n\n- yes\n"
    assert not lacking(ours, ours)
    noted = ours.replace("text\n", "text\nmy note, beside it\n") + "\n| my | table |\n|---|---|\n"
    assert not lacking("# mine\n\n" + noted, ours)
    assert lacking(noted.replace("52.2", "92.2"), ours) == "| kap | 52.2 |"
    assert lacking(noted.replace("- yes\n", ""), ours) == "- yes"
    assert (
        lacking(noted.replace("| kap | 52.2 |\n", "| kap | 52.2 |\n| canl | 99.9 |\n"), ours)
        == "| row | share |"
    )
    assert lacking("", ours) == "## head"
