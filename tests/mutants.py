"""One-place changes of the package's code: which there are, and the seeded draw of a campaign."""

import ast
import collections
import copy
import dataclasses
import pathlib
import random
from collections.abc import Callable, Iterator

ROOT = pathlib.Path(__file__).resolve().parent.parent
EQUIVALENT = ROOT / "tests" / "mutants_equivalent.txt"
# Left out unless named: what measures machines, PyTorch among it; kernels, which test for minutes.
LEFT_OUT = ("cfi_jax/benchmark/", "cfi_jax/systems/isfuse/operations/")
# Calls whose text a person reads.
MESSAGES = ("logging.", "warnings.", "print")

COMPARISONS = {
  ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE),
  ast.GtE: (ast.Gt, ast.Lt), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,),
  ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
OPERATORS = {
  ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
  ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
NAMES = {"min": "max", "any": "all", "minimum": "maximum", "floor": "ceil", "argmin": "argmax"}
COMMUTATIVE = ("maximum", "minimum", "max", "min", "logical_and", "logical_or", "approx")
COMMUTATIVE += ("suppress",)  # takes kinds of errors
NAMES |= {new: old for old, new in NAMES.items()}

SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclasses.dataclass(frozen=True)
class Mutant:
  """One change: the text of lines `first` to `last` of a file, from one column to another."""

  path: str  # from the root of the checkout
  kind: str
  scope: str  # the function or class around it
  line: int
  statement: int  # the line on which the innermost statement around it begins
  start: int  # offset in the file's bytes
  end: int
  before: str
  after: str

  def __str__(self) -> str:
    before, after = (" ".join(text.split()) for text in (self.before, self.after))
    return f"{self.path}:{self.line} {self.scope}: {before} -> {after}"

  def applied(self, data: bytes) -> bytes:
    """The changed file."""
    return data[: self.start] + self.after.encode() + data[self.end :]

  def parses(self) -> bool:
    """Whether the change is Python; text within f-strings, for one, may not be."""
    try:
      ast.parse(self.applied((ROOT / self.path).read_bytes()))
    except SyntaxError:
      return False
    return True

  @property
  def key(self) -> str:
    """The line of EQUIVALENT that names it; it stays when lines move."""
    return f"{self.path} {str(self).split(' ', 1)[1]}"


def compare(node: ast.AST) -> Iterator[ast.AST]:
  """Another comparison operator: a limit in or out, or the opposite."""
  if isinstance(node, ast.Compare):
    for i, operator in enumerate(node.ops):
      for other in COMPARISONS[type(operator)]:
        changed = copy.deepcopy(node)
        changed.ops[i] = other()
        yield changed


def constant(node: ast.AST) -> Iterator[ast.AST]:
  """A number one more or less, or a tenth more; True for False."""
  if isinstance(node, ast.Constant) and isinstance(node.value, bool):
    yield ast.Constant(not node.value)
  elif isinstance(node, ast.Constant) and isinstance(node.value, int):
    yield ast.Constant(node.value + 1)
    yield ast.Constant(node.value - 1)
  elif isinstance(node, ast.Constant) and isinstance(node.value, float):
    yield ast.Constant(node.value * 1.1 or 1.0)


def logic(node: ast.AST) -> Iterator[ast.AST]:
  """`or` for `and`; no `not`."""
  if isinstance(node, ast.BoolOp):
    yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
  elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
    yield node.operand


def arithmetic(node: ast.AST) -> Iterator[ast.AST]:
  """Another operator, or no sign."""
  if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
    yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
  elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
    yield node.operand


def dropped(node: ast.AST) -> Iterator[ast.AST]:
  """A statement that calls something and does not, or a call that only hands on its argument."""
  if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
    yield ast.Pass()
  elif isinstance(node, ast.Call) and node.args and not isinstance(node.args[0], ast.Starred):
    yield node.args[0]


def swapped(node: ast.AST) -> Iterator[ast.AST]:
  """Two neighbouring arguments in the wrong order."""
  if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] not in COMMUTATIVE:
    for i, (one, two) in enumerate(zip(node.args, node.args[1:], strict=False)):
      if ast.dump(one) != ast.dump(two):
        yield ast.Call(node.func, [*node.args[:i], two, one, *node.args[i + 2 :]], node.keywords)


def unraised(node: ast.AST) -> Iterator[ast.AST]:
  """No error."""
  if isinstance(node, ast.Raise):
    yield ast.Pass()


def returned(node: ast.AST) -> Iterator[ast.AST]:
  """None for a value."""
  if isinstance(node, ast.Return) and ast.unparse(node) not in ("return", "return None"):
    yield ast.Return(ast.Constant(None))


def renamed(node: ast.AST) -> Iterator[ast.AST]:
  """The largest for the smallest, all for any, up for down."""
  if isinstance(node, ast.Name) and node.id in NAMES and isinstance(node.ctx, ast.Load):
    yield ast.Name(NAMES[node.id], node.ctx)
  elif isinstance(node, ast.Attribute) and node.attr in NAMES:
    yield ast.Attribute(node.value, NAMES[node.attr], node.ctx)


KINDS: dict[str, Callable[[ast.AST], Iterator[ast.AST]]] = {
  function.__name__: function
  for function in (
    compare, constant, logic, arithmetic, dropped, swapped, unraised, returned, renamed,
  )
}  # fmt: skip


def inner(
  node: ast.AST, scope: str = "module", statement: int = 0
) -> Iterator[tuple[ast.AST, str, int]]:
  """All nodes that may change, outermost first, with the function around them and the statement."""
  for name, value in ast.iter_fields(node):
    for child in value if isinstance(value, list) else [value]:
      if not isinstance(child, ast.AST) or name in ("annotation", "returns", "decorator_list"):
        continue
      called = child.value if isinstance(child, ast.Expr) else child
      called = ast.unparse(called.func) if isinstance(called, ast.Call) else ""
      if called.startswith(MESSAGES) or isinstance(child, ast.JoinedStr):
        continue
      if isinstance(child, ast.If) and "__main__" in ast.unparse(child.test):
        continue
      inside = getattr(child, "name", scope) if isinstance(child, SCOPES) else scope
      begins = child.lineno if isinstance(child, ast.stmt) else statement
      yield child, inside, begins
      yield from inner(child, inside, begins)


def mutants(path: pathlib.Path) -> list[Mutant]:
  """All changes of one file."""
  data = path.read_bytes()
  starts = [0]
  for line in data.splitlines(keepends=True):
    starts.append(starts[-1] + len(line))
  found = []
  for node, scope, statement in inner(ast.parse(data)):
    if not hasattr(node, "lineno"):
      continue
    start = starts[node.lineno - 1] + node.col_offset
    end = starts[node.end_lineno - 1] + node.end_col_offset
    for kind, function in KINDS.items():
      for changed in function(node):
        after = ast.unparse(ast.fix_missing_locations(changed))
        if isinstance(node, ast.expr) and not isinstance(changed, ast.Constant | ast.Name):
          after = f"({after})"
        name, before = str(path.relative_to(ROOT)), data[start:end].decode()
        found.append(Mutant(name, kind, scope, node.lineno, statement, start, end, before, after))
  return found


class Marked(ast.NodeTransformer):
  """Has every statement of a function call MUTATE with its file and line before it runs."""

  def __init__(self, name: str):
    self.name, self.depth = name, 0

  def visit(self, node: ast.AST) -> ast.AST:
    """Marks the statements of a node that is or lies in a function."""
    function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    self.depth += function
    self.generic_visit(node)
    for field in ("body", "orelse", "finalbody"):
      statements = getattr(node, field, None)
      if self.depth and isinstance(statements, list):
        setattr(node, field, [each for one in statements for each in self.mark(one)])
    self.depth -= function
    return node

  def mark(self, statement: ast.stmt) -> list[ast.stmt]:
    """The statement after its mark; text alone is a docstring and must come first."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
      return [statement]
    return [*ast.parse(f"MUTATE('{self.name}:{statement.lineno}')").body, statement]


def marked(path: pathlib.Path) -> str:
  """The text of a file that tells the builtin MUTATE, where there is one, what of it runs."""
  tree = ast.parse(path.read_bytes())
  tree = ast.fix_missing_locations(Marked(str(path.relative_to(ROOT))).visit(tree))
  head = int(ast.get_docstring(tree) is not None)
  head += sum(isinstance(x, ast.ImportFrom) and x.module == "__future__" for x in tree.body)
  found = ast.parse("MUTATE = __import__('builtins').__dict__.get('MUTATE', len)").body
  tree.body[head:head] = found
  return ast.unparse(tree)


def draw(wanted: list[tuple[str, int]], seed: int) -> list[Mutant]:
  """The changes of a campaign: different places, kinds equally likely, equivalent ones left out."""
  generator = random.Random(seed)
  known = {line.split("  # ")[0].strip() for line in EQUIVALENT.read_text().splitlines()}
  drawn: dict[tuple[str, int, int], Mutant] = {}
  for under, count in wanted:
    places = collections.defaultdict(list)
    left_out = tuple(folder for folder in LEFT_OUT if not under.startswith(folder[:-1]))
    for path in sorted((ROOT / "cfi_jax").rglob("*.py")):
      name = str(path.relative_to(ROOT))
      if name.startswith(under) and not name.startswith(left_out):
        for mutant in mutants(path):
          places[mutant.kind].append(mutant)
    goal = len(drawn) + count
    while len(drawn) < goal and any(places.values()):
      kind = generator.choice([kind for kind in KINDS if places[kind]])
      mutant = places[kind].pop(generator.randrange(len(places[kind])))
      place = mutant.path, mutant.start, mutant.end
      if mutant.key not in known and place not in drawn and mutant.parses():
        drawn[place] = mutant
  return list(drawn.values())
