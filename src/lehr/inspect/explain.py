"""The loop as it will really run, as text."""

from collections.abc import Iterable, Sequence

from lehr.base.html import fill
from lehr.callback import Callback
from lehr.engine import ALONE, Engine
from lehr.events import ACTIONS
from lehr.learner import Learner
from lehr.loop.order import in_layers, watching
from lehr.loop.step.fusible import obstacles
from lehr.loop.step.inside import included

_LOOP = """
fit
  @around_fit
  @begin_fit
  for epoch in range(epochs):
    -- rest
    @begin_epoch
    @begin_train
    for batch in train_dl:
      !one_batch
      @begin_batch
      !predict
      @after_pred
      !compute_loss
      @after_loss
      !backward
      @after_backward
      when the update window closes:
        !finish_grad
        !step
        @after_step
        !zero_grad
      @after_batch
      -- rest, if the update window is closed
      -- if a validation by steps is due: the validation, rest
    @after_train
    -- rest
    @begin_validate
    for batch in valid_dl: the same, as far as after_loss; then after_batch
    @after_validate
    @after_epoch
  -- rest
  @after_fit
"""


class Explanation(str):
    """A text that shows itself as it is, at a prompt and in a notebook.

    Example:
        >>> Explanation("fit\\n  begin_fit")
        fit
          begin_fit
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return fill("<pre>{{ text }}</pre>", text=str(self))


def explain(
    callbacks: Iterable[Callback], engine: Engine = ALONE, learn: Learner | None = None
) -> Explanation:
    """Show the loop with these callbacks, as text. See `lehr.Learner.explain`."""
    callbacks = list(callbacks)
    lines = [_line(line, callbacks) for line in _LOOP.strip().splitlines()]
    if learn is not None and learn.graphs is not None:
        found = obstacles(learn.model, learn.opt, learn.loss_func, callbacks, engine)
        verdict = learn.graphs.verdict
        if not found and verdict.fused is False:
            found = [verdict.in_words()]
        if found:
            lines[0] += f", the steps not fused: {'; '.join(found)}"
        else:
            lines = [_fused(line, callbacks) for line in lines]
            lines[0] += f", {verdict.in_words()}" if verdict.fused else ""
    if together := engine.processes_text():
        sharded = learn is not None and any(
            hasattr(parameter, "device_mesh") for parameter in learn.model.parameters()
        )
        model = "the model is in shards" if sharded else "each has the model"
        lines[0] += f", in {together}: {model}, batches are shared out, gradients averaged"
        lines = [line + _SHARED.get(line.split("  ")[-1].strip("- "), "") for line in lines]
    return Explanation("\n".join(line.rstrip() for line in lines))


_SHARED = {
    "rest": "; all processes agree whether the run ends",
    "for batch in train_dl:": " each process reads its part",
    "when the update window closes:": " gradients and weights are those of all processes",
    "for batch in valid_dl: the same, as far as after_loss; then after_batch": (
        "; each process reads its part, and numbers are merged"
    ),
}


def _fused(line: str, callbacks: Sequence[Callback]) -> str:
    """A line of an action within the step says that all of them are one."""
    name = line.strip().partition("(")[0].partition(" ")[0]
    inside = [type(callback).__name__ for method, callback in included(callbacks) if method == name]
    if name in ACTIONS and name != "one_batch":
        head = line.partition("()")[0]
        and_theirs = f", with {', '.join(inside)} in it" if inside else ""
        return f"{head + '()':<26}one graph{and_theirs}"
    return f"{line} ({', '.join(inside)} in the graph)" if inside else line


def _line(line: str, callbacks: Sequence[Callback]) -> str:
    text = line.strip()
    if text[0] not in "@!":
        return line
    indent, name = line[: len(line) - len(text)], text[1:]
    if name in ACTIONS:
        who = [type(cb).__name__ for cb in in_layers(callbacks) if hasattr(cb, name)]
        shown = " > ".join([*who, "loop"])
        return f"{indent}{name + '()':<{26 - len(indent)}}{shown}"
    who = [type(cb).__name__ for cb in watching(name, callbacks)]
    return f"{indent}{name:<{26 - len(indent)}}{', '.join(who)}"
