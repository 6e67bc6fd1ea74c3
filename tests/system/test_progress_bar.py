"""The bar of what is long is seen once."""

from mftcoder.system.progress_bar import progress


def test_only_the_first_rank_shows_anything(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert not progress(transient=True).disable
    monkeypatch.setenv("RANK", "0")
    assert not progress(transient=True).disable
    monkeypatch.setenv("RANK", "1")
    assert progress(transient=True).disable
