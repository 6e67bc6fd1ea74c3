"""A library of Python in a directory: what the corpus builder is tested on."""

import textwrap
from pathlib import Path

MODULES = {
    "shapes.py": '''
        """Shapes."""
        import os

        def area(width, height=1):
            """The area of a rectangle.

            >>> area(2, 3)
            6
            """
            # multiply
            return width * height

        def undocumented(values):
            total = 0
            for value in values:
                if value < 0:
                    continue
                total += value
            if total > 9:
                total = 9
            print(total)
            return total

        def one_line(): return 1

        def only_doc():
            """Nothing but words."""

        class Shape:
            @property
            def name(self):
                """The name of the shape, in lower case, as it was given when it was made.

                Nothing else is done to it, and nobody may change it later on.
                """
                return self._name.lower()

            async def draw(self, canvas):
                """Draw it on a canvas."""
                await canvas.add(self)
    ''',
    "copied.py": '''
        def twice(value):
            """Another module has the same code with another docstring."""
            return value + value
    ''',
    "pack/__init__.py": "",
    "pack/inner.py": '''
        def twice(value):
            """Two times the value."""
            return value + value

        def deep(x):
            text = """
        not indented
            """
            return text + x
    ''',
    "broken.py": "def broken(:\n",
    "test/test_shapes.py": """
        import unittest, shapes

        class Tests(unittest.TestCase):
            def test_area(self):
                self.assertEqual(shapes.area(2, 3), 6)

            def test_other(self):
                self.assertEqual(shapes.area(2, 3), 6)

            def helper_area(self):
                return shapes.area(1)
    """,
    "test/test_pack/test_inner.py": """
        class Tests:
            def test_twice(self):
                assert twice(2) == 4
    """,
    "test/test_unknown.py": "class T:\n    def test_area(self):\n        area(1)\n",
    "site-packages/other.py": "def foreign(a):\n    return a\n",
    "shapes/tests/test_x.py": "def inside(a):\n    return a\n",
}


def make_library(root: Path) -> Path:
    """The modules above, as files below `root`."""
    for name, text in MODULES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    return root
