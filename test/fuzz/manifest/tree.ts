/** A YAML document before it is written: so that mutations know what is a key, and what is a value. Shares nothing with the reader. */

export type Tree = {
  /** An anchor or a tag, with the space after it. */
  head?: string;
} & (
  | { kind: 'map'; entries: [key: string, value: Tree][] }
  | { kind: 'list'; items: Tree[] }
  /** As it is written, right or wrong. */
  | { kind: 'raw'; text: string }
);

export function raw(text: string): Tree {
  return { kind: 'raw', text };
}

/** `{a: [b, c]}` */
export function flowText(tree: Tree): string {
  const head = tree.head ?? '';
  if (tree.kind === 'raw') return head + tree.text;
  if (tree.kind === 'list') return `${head}[${tree.items.map(flowText).join(', ')}]`;
  return `${head}{${tree.entries.map(([key, value]) => `${key}: ${flowText(value)}`).join(', ')}}`;
}

/** Blocks, indented by two; what is empty as a flow. */
export function blockText(tree: Tree, indent = ''): string {
  const pieces =
    tree.kind === 'map'
      ? tree.entries.map(([key, value]) => `${indent}${key}:${below(value, indent)}`)
      : tree.kind === 'list'
        ? tree.items.map((value) => `${indent}-${below(value, indent)}`)
        : [];
  return pieces.length === 0 ? `${indent}${flowText(tree)}\n` : pieces.join('');
}

function below(tree: Tree, indent: string): string {
  const isEmpty =
    tree.kind === 'raw' || (tree.kind === 'map' ? tree.entries.length === 0 : tree.items.length === 0);
  if (isEmpty) return ` ${flowText(tree)}\n`;
  const head = tree.head === undefined ? '' : ` ${tree.head.trimEnd()}`;
  return `${head}\n${blockText({ ...tree, head: undefined }, `${indent}  `)}`;
}

/** All of a tree, itself first, down to a bound. */
export function nodesOf(tree: Tree, found: Tree[] = []): Tree[] {
  if (found.length >= 500) return found;
  found.push(tree);
  const children =
    tree.kind === 'map' ? tree.entries.map(([, value]) => value) : tree.kind === 'list' ? tree.items : [];
  for (const child of children) nodesOf(child, found);
  return found;
}

/** Makes one node another one, for all who hold it. */
export function become(node: Tree, other: Tree): void {
  for (const key of Object.keys(node)) delete (node as Record<string, unknown>)[key];
  Object.assign(node, other);
}
