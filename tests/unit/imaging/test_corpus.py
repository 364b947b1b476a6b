import numpy as np
import pytest

from kroma.imaging.codec import decode, verify
from kroma.imaging.errors import PictureError
from support.builders import corpus


def shown(name: str) -> np.ndarray:
    """What a good sample should show, as far as its format keeps colors."""
    rgb = corpus.pixels().astype(np.int16)
    if corpus.sample(name).gray:
        rgb = np.repeat(np.rint(rgb @ [0.299, 0.587, 0.114])[..., None], 3, axis=2).astype(np.int16)
    return rgb


@pytest.mark.parametrize("name", corpus.GOOD)
def test_every_good_file_is_read_right(name: str) -> None:
    sample = corpus.sample(name)

    picture = decode(sample.data, name=name)

    assert picture.pixels.shape[:2] == (corpus.HEIGHT, corpus.WIDTH)
    assert (picture.alpha is not None) == sample.alpha
    assert (picture.icc_profile is not None) == sample.profile
    if name != "one_bit_png":
        columns = slice(0, corpus.CLEAR_FROM if sample.alpha else corpus.WIDTH)
        off = np.abs(picture.pixels[:, columns, :3].astype(np.int16) - shown(name)[:, columns])
        assert np.percentile(off, 99) <= sample.tolerance + (1 if sample.gray else 0)


@pytest.mark.parametrize("name", corpus.BAD)
def test_every_bad_file_is_refused_with_its_name(name: str) -> None:
    with pytest.raises(PictureError, match=f"'{name}'"):
        decode(corpus.sample(name).data, name=name)
    with pytest.raises(PictureError, match=f"'{name}'"):
        verify(corpus.sample(name).data, name=name)
