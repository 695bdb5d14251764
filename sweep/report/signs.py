"""The entries of a figure's legend, drawn as small SVG pictures."""

from __future__ import annotations

from sweep.report.charts import Sign

_SHAPES = {
    "line": "<path d='M1 8H21' stroke='C' stroke-width='3'/>",
    "dash": "<path d='M1 8H21' stroke='C' stroke-width='2' stroke-dasharray='5 3'/>",
    "dot": "<circle cx='11' cy='8' r='5' fill='C'/>",
    "diamond": "<path d='M11 2L17 8L11 14L5 8Z' fill='C'/>",
    "ring": "<circle cx='11' cy='8' r='5' fill='none' stroke='C' stroke-width='2'/>",
    "cross": "<path d='M6 3L16 13M16 3L6 13' stroke='C' stroke-width='3'/>",
    "tick": "<path d='M11 2V14' stroke='C' stroke-width='2.5'/>",
    "block": "<rect x='2' y='3' width='18' height='10' fill='C'/>",
    "hatch": "<path d='M3 13L9 3M9 13L15 3M15 13L21 3' stroke='C' stroke-width='1.5'/>",
    "pale": "<rect x='2' y='3' width='18' height='10' fill='C' opacity='0.25'/>",
}


def render_sign(sign: Sign) -> str:
    """An entry's picture; a colour of the theme is taken from the page's style."""
    colour = f"var(--{sign.colour[1:]})" if sign.colour.startswith("@") else sign.colour
    shape = _SHAPES[sign.shape].replace("'C'", f"'{colour}'")
    return f"<svg width='22' height='16' viewBox='0 0 22 16' aria-hidden='true'>{shape}</svg>"
