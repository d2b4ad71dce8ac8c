/**
 * Files of an overlay that have lost their name, for another overlay of the same layers: `layer[1] inodeLow[4] inodeHigh[4] names[n] inner[b]`.
 * The names are those of a file of the lower layer, which a guest cannot remove there; another one is the layer's own to keep.
 */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import { StateReader } from '../../../state-reader.js';
import { StateWriter } from '../../../state-writer.js';
import { Attributes, type ByteString, type FsNode } from '../file-system.js';
import { NOTHING_KEPT, type Given, type Kept } from '../kept.js';
import { isEntryName } from '../node-fs/names.js';
import { lookAtPath, typeOf, type Look } from './layer.js';
import { Layer } from './overlay-context.js';
import type { OverlayNode } from './overlay-node.js';

const NODE_FIELDS = { layer: 1, inodeLow: 4, inodeHigh: 4 } as const;

/** What the node's layer keeps, and what the overlay has to know beside it. */
export function keptOf(node: OverlayNode, inner: Kept, names: readonly ByteString[] = []): Kept {
  const { inodeLow, inodeHigh } = node;
  const writer = new StateWriter();
  writer.record(NODE_FIELDS, {
    layer: node.upper === undefined ? Layer.lower : Layer.upper,
    inodeLow: inodeLow >>> 0,
    inodeHigh: inodeHigh >>> 0,
  });
  writer.list(names, (name) => writer.text(name));
  writer.blob(inner.details);
  return { descriptor: inner.descriptor, details: writer.bytes };
}

/** The layer's part of what `keptOf` told. */
export function innerDetails(details: Uint8Array): Uint8Array {
  const reader = new StateReader(details);
  reader.record(NODE_FIELDS);
  reader.list(() => reader.text());
  return reader.blob();
}

export function keepNode(node: OverlayNode): Kept | Failure {
  const names = node.upper === undefined ? node.lower?.names() : undefined;
  if (names !== undefined) return keptOf(node, NOTHING_KEPT, names);
  const inner = node.shown.keep();
  return isFailure(inner) ? inner : keptOf(node, inner);
}

export async function regainNode(
  directory: OverlayNode,
  name: ByteString,
  { descriptor, details }: Given,
): Promise<OverlayNode | Failure> {
  const { context } = directory;
  const reader = new StateReader(details);
  const { layer, ...inode } = reader.record(NODE_FIELDS);
  const names = reader.list(() => reader.text());
  const inner = reader.blob();
  if (reader.overrun || layer > Layer.upper || !names.every(isEntryName)) return -Errno.EINVAL;
  const root = layer === Layer.upper ? context.upperRoot : context.lowerRoot;
  const look =
    names.length > 0
      ? await lookAtPath(root, `/${names.join('/')}`)
      : await looked(await root.regain(name, { descriptor, details: inner }));
  if (isFailure(look)) return look;
  const layers =
    layer === Layer.upper ? { upper: look, lower: undefined } : { upper: undefined, lower: look };
  const found = { type: typeOf(look.attributes), ...inode, ...layers, redirect: undefined, marks: undefined };
  return directory.adoptRegained(name, found);
}

async function looked(node: FsNode | Failure): Promise<Look | Failure> {
  if (isFailure(node)) return node;
  const attributes = new Attributes();
  const error = await node.getattr(attributes);
  if (error === 0) return { node, attributes };
  node.release();
  return error;
}
