"""Figures for notebooks and papers, in the style of the pages: curves, galleries, spectra.

Each draws one panel and returns its matplotlib axes: into yours (``ax=``), which keep their own look, in colours that
can be told apart on their background; or into a new figure of `matplotlib.pyplot`, which looks as the pages do, light
or dark as yours are. Your ``rcParams`` stay as they are, and nothing is shown or saved.

    fig, axes = plt.subplots(1, 2)
    gb.plot.curves(table, ax=axes[0])
    gb.plot.curves(table, "regret", ax=axes[1], legend=False)

>>> import gahb_bench as gb
>>> table = gb.score("calpha:size=8", ["mmse", "identity"], [0.1, 1.0], images=4)
>>> curves(table).get_ylabel()
'MSE per pixel'
"""

from gahb_bench.plot.curve import curves
from gahb_bench.plot.images import gallery
from gahb_bench.plot.spectra import spectrum

__all__ = ["curves", "gallery", "spectrum"]
