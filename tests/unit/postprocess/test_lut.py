import pytest

from kroma.postprocess.lut import CubeError, read_cube

ROWS = "0 0 0\n1 1 1\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", ", line 1: LUT_1D_SIZE or LUT_3D_SIZE is missing", id="empty"),
        pytest.param("0 0 0\n", ", line 1: LUT_1D_SIZE or LUT_3D_SIZE must come before", id="no size"),
        pytest.param(
            "LUT_1D_SIZE 2\n0 0 0\n0 zero 0\n", ", line 3: there must be three numbers", id="no number"
        ),
        pytest.param(
            "LUT_1D_SIZE 2\n0 0 0\n0 0\n", ", line 3: there must be three numbers", id="two numbers"
        ),
        pytest.param("LUT_1D_SIZE 2\n0 0 0\n0 1e999 0\n", ", line 3: there must be", id="infinite"),
        pytest.param("LUT_1D_SIZE 2\n0 0 0\n", ", line 2: there are 1 rows of values, not 2", id="too few"),
        pytest.param(f"LUT_1D_SIZE 2\n{ROWS}2 2 2\n", ", line 4: there are more than 2", id="too many"),
        pytest.param("LUT_1D_SIZE two\n", ", line 1: the size must be one whole number", id="size a word"),
        pytest.param("LUT_1D_SIZE 1\n", ", line 1: the size must be from 2 to 65536, not 1", id="size 1"),
        pytest.param("LUT_3D_SIZE 999\n", ", line 1: the size must be from 2 to 129, not 999", id="huge"),
        pytest.param("LUT_1D_SIZE 2\nLUT_3D_SIZE 2\n", ", line 2: the size is set twice", id="two sizes"),
        pytest.param("# one\n\nCURVE 3\n", ", line 3: 'CURVE' is not a keyword", id="keyword"),
        pytest.param(
            "LUT_1D_SIZE 2\n0 0 0\nTITLE x\n", ", line 3: keywords must come before", id="late keyword"
        ),
        pytest.param(
            f"DOMAIN_MAX 0 1 1\nLUT_1D_SIZE 2\n{ROWS}", ", line 1: the domain must end above", id="domain"
        ),
        pytest.param("LUT_1D_INPUT_RANGE 0\n", ", line 1: there must be two numbers", id="range"),
    ],
)
def test_a_bad_table_is_named_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(CubeError, match=f"'grade.cube'{problem}"):
        read_cube(text.encode(), name="grade.cube")


def test_bytes_that_are_no_text_are_named_with_their_line() -> None:
    with pytest.raises(CubeError, match="line 2: this is not text"):
        read_cube(b"LUT_1D_SIZE 2\n\xff\xfe\n", name="grade.cube")


def test_a_table_as_programs_write_it_is_read() -> None:
    lines = (
        '\ufeffTITLE "a"',
        "# ours",
        "",
        "LUT_1D_SIZE 2",
        "LUT_1D_INPUT_RANGE 0 2",
        " 0 0 0",
        "+1 .5 1e0",
    )
    text = "\r\n".join(lines)

    lut = read_cube(text.encode(), name="grade.cube")

    assert lut.table.tolist() == [[0, 0, 0], [1, 0.5, 1]]
    assert (lut.low, lut.high) == ((0, 0, 0), (2, 2, 2))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("#\n" * 1001, ", line 1001: there are more than 1000 keywords, comments", id="comments"),
        pytest.param("\n" * 1001, ", line 1001: there are more than 1000 keywords", id="blank lines"),
        pytest.param("DOMAIN_MIN 0 0 0\n" * 1001, ", line 1001: there are more than 1000", id="keywords"),
        pytest.param(f"LUT_1D_SIZE 2\n{ROWS}" + "# x\n" * 1000, ", line 1003: there are", id="after values"),
        pytest.param(
            "LUT_1D_SIZE 2\n#" + "x" * 1000, ", line 2: the line has more than 1000", id="long comment"
        ),
        pytest.param("LUT_1D_SIZE 2\n" + "0 " * 600, ", line 2: the line has more than 1000", id="long row"),
        pytest.param("\n" * 2_200_000, ": the file has more than 2147689 lines", id="lines"),
        pytest.param("\r" * 2_200_000, ": the file has more than 2147689 lines", id="lines of old programs"),
        pytest.param("LUT_1D_SIZE " + "9" * 900, ", line 1: the size must be from 2 to 65536", id="digits"),
        pytest.param(
            "LUT_1D_SIZE 9000\n" + "0 0 0\n" * 5000 + "0 1_0 0\n" + "0 0 0\n" * 3999,
            ", line 5002: there must be three numbers",
            id="one of many rows",
        ),
        pytest.param("LUT_1D_SIZE 2\n0 0 0\n1e39 0 0\n", ", line 3: there must be three numbers", id="float"),
        pytest.param("LUT_1D_SIZE 2\n0 0\n0 0\n", ", line 2: there must be three numbers", id="two each"),
    ],
)
@pytest.mark.timeout(20)
def test_what_takes_long_and_gives_nothing_is_refused(text: str, problem: str) -> None:
    with pytest.raises(CubeError, match=f"'grade.cube'{problem}"):
        read_cube(text.encode(), name="grade.cube")


def test_the_largest_number_of_other_lines_is_read() -> None:
    text = "# a comment\n" * 500 + f"LUT_1D_SIZE 2\n{ROWS}" + "\n" * 498

    assert read_cube(text.encode(), name="grade.cube").table.shape == (2, 3)
