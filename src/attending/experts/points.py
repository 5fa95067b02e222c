"""VISTA3D at points: segments what a user has clicked on, as the published bundle does around each point."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from attending.experts.card import ExpertCard, ExpertError, RefusedError
from attending.experts.expert import step
from attending.experts.finding import Finding
from attending.experts.fit import fit
from attending.experts.vista3d import Vista3D, vista3d_labels
from attending.imaging import Study, Volume

if TYPE_CHECKING:
    import torch

NOT_NAMED = "not named"
"""The structure where the user gives none."""
ZERO_SHOT = 133
"""Class index of what the network has no class for; any above its 132 is (`vista3d132`)."""
_NEVER_ASKED = (2, 16, 18, 20, 21, 129, 130, 131)
"""Ids that the bundle asks by their parts, or that its authors do not support."""
_MOST = 64
"""Points at once: the network runs on a window for each."""


class Point(NamedTuple):
    """A place in the patient, RAS mm."""

    x: float
    y: float
    z: float
    positive: bool = True
    """Whether it lies on what is meant, or beside it."""


def structures() -> tuple[str, ...]:
    """What a point may be said to lie on."""
    return tuple(name for label, name in vista3d_labels()["names"].items() if label not in _NEVER_ASKED)


class AtPoints:
    """VISTA3D with a user's points: an `Expert` for one run, so that it passes through the checks of all others.

    Args:
        vista: Has the bundle.
        points: At least one.
    """

    def __init__(self, vista: Vista3D, points: Sequence[Point]) -> None:
        self.vista, self.points = vista, tuple(points)

    @property
    def card(self) -> ExpertCard:
        """VISTA3D's, but for its arguments; the model is never shown it."""
        return replace(self.vista.card, arguments={"structure": (NOT_NAMED, *structures())})

    def available(self) -> str | None:
        """See `Expert`."""
        if find_spec("skimage") is None:
            return "scikit-image is not installed; run: pip install 'attending[experts]'"
        return self.vista.available()

    def run(self, study: Study, arguments: Mapping[str, str]) -> Finding:
        """Segment one structure; see `Expert`."""
        from attending.experts.segment import run_bundle, tell

        used, warnings = fit(self.card, study)
        name, volume = arguments["structure"], used[0].volume
        named = name != NOT_NAMED
        self._check(volume, named)
        table = vista3d_labels()
        label = next(i for i, known in table["names"].items() if known == name) if named else ZERO_SHOT
        recipe = self.vista.bundle.recipe()
        run = partial(self._segment, label=label, volume=volume)
        labels, record, told = run_bundle(self.vista, used, recipe, run, points=[list(point) for point in self.points])
        names = {label: name if named else "marked structure"}
        return tell(labels, names, used[0], record, [*warnings, *told], (*table["lesions"], ZERO_SHOT))

    def _check(self, volume: Volume, named: bool) -> None:
        if not 0 < len(self.points) <= _MOST:
            raise RefusedError(f"expected 1 to {_MOST} points, not {len(self.points)}")
        corners = np.array(np.meshgrid(*((-0.5, size - 0.5) for size in volume.shape))).reshape(3, -1).T
        edges = volume.to_world(corners)
        spans = zip("xyz", edges.min(0), edges.max(0), strict=True)
        bounds = ", ".join(f"{axis} {low:.1f} to {high:.1f}" for axis, low, high in spans)
        for point in self.points:
            told = ", ".join(f"{value:g}" for value in point[:3])
            if not all(math.isfinite(value) for value in point[:3]):
                raise RefusedError(f"expected a point in mm, not {told}")
            at = volume.to_voxels(point[:3])
            if (at < -0.5).any() or (at > np.array(volume.shape) - 0.5).any():
                raise RefusedError(f"the point {told} lies outside the volume, which spans {bounds} (RAS mm)")
        if not named and not any(point.positive for point in self.points):
            raise RefusedError("all points lie beside what is meant; give one that lies on it, or name the structure")

    def _segment(
        self,
        network: Any,
        image: torch.Tensor,
        roi: tuple[int, int, int],
        device: torch.device,
        *,
        label: int,
        volume: Volume,
    ) -> Any:
        """Label ids `[X, Y, Z]` uint8: the label where the network's logit is above 0, in the windows around points.

        With a class, the point branch corrects what the class branch finds; without, it works alone, and only what
        hangs together with a positive point stays.
        """
        import torch

        from attending.experts.grid import network_grid

        recipe = self.vista.bundle.recipe()
        grid = network_grid(volume, recipe.spacing, recipe.orientation)
        # Whole voxels, since MONAI rounds to look them up and may so leave a window; not the image's first plane, since
        # it takes a point in the first plane of a window for one outside it.
        at = np.rint(grid.to_voxels([point[:3] for point in self.points])).clip(0.01, np.array(grid.shape) - 1)
        positive = np.array([point.positive for point in self.points])
        classes = torch.tensor([[label]], device=device)
        prompts = {
            # Tumours and vessels have marks of their own, those that the network was trained with.
            "point_labels": network.convert_point_label(torch.tensor(positive[None].astype(int)), [label]).to(device),
            "class_vector": None if label == ZERO_SHOT else classes,
            "prompt_class": classes,
        }
        mask = around_points(network, image, at, roi, device, prompts) > 0  # outside the windows it is NaN
        if label == ZERO_SHOT:
            parts, _ = ndimage.label(mask, np.ones((3, 3, 3), int))
            hit = parts[tuple(np.rint(at[positive]).astype(int).T)]
            mask = np.isin(parts, hit[hit > 0])
        return mask.astype(np.uint8) * np.uint8(label)


def around_points(
    network: Any,
    image: torch.Tensor,
    points: npt.NDArray[np.float64],
    roi: Sequence[int],
    device: torch.device,
    prompts: Mapping[str, Any],
) -> npt.NDArray[np.float32]:
    """The network's logits `[X, Y, Z]` in windows centred on the points, summed over the points; NaN in no window.

    The values of MONAI's `point_based_window_inferer`; a window that several points share is looked at once.

    Args:
        network: VISTA3D.
        image: `[1, X, Y, Z]` float32 on the CPU; padded with 0 where it is smaller than the window.
        points: `[N, 3]` in voxels.
        roi: The window's sides, even.
        device: Where the network runs.
        prompts: What the network is given besides the window and the points.

    Raises:
        ExpertError: The network returned something that is no number, or the run's time is over.
    """
    import torch

    from attending.experts.device import computing

    pads = [max(0, side - size) for side, size in zip(roi, image.shape[1:], strict=True)]
    before = np.array([pad // 2 for pad in pads])
    both = [part for pad in reversed(pads) for part in (pad // 2, pad - pad // 2)]
    inner = tuple(slice(a, a + size) for a, size in zip(before, image.shape[1:], strict=True))
    image = torch.nn.functional.pad(image, both)
    points = points + before
    last = np.array(image.shape[1:]) - roi
    corners = np.clip(points.astype(int) - np.array(roi) // 2, 0, last)
    starts, shared = np.unique(corners, axis=0, return_counts=True)
    coordinates = torch.tensor(points[None], dtype=torch.float32, device=device)
    sums, seen = torch.zeros(image.shape[1:]), torch.zeros(image.shape[1:], dtype=torch.bool)
    for done, start in enumerate(starts.tolist()):
        step(done, len(starts))
        place = tuple(slice(a, a + side) for a, side in zip(start, roi, strict=True))
        patch = (slice(None), slice(None), *place)
        with torch.inference_mode(), computing(device):
            window = image[None][patch].to(device)
            out = network(window, point_coords=coordinates, patch_coords=[patch], **prompts)
        logits = torch.as_tensor(out)[0, 0].float().cpu()
        if not torch.isfinite(logits).all():
            raise ExpertError("the network returned values that are no numbers")
        sums[place] += logits * int(shared[done])
        seen[place] = True
    step(len(starts), len(starts))
    return sums.where(seen, torch.nan)[inner].numpy()
