/** From what a document says to what is wanted: words become values, and what cannot go together is said with its place. */
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { Value } from '@sinclair/typebox/value';
import {
  ChassisError,
  Network,
  DISK_QUEUES_DEFAULT,
  SERIAL_MAX_LENGTH,
  type MountRequest,
  type OverlayRequest,
  type Owner,
  type Policy,
  type Source,
} from '../../../manager/control/api.js';
import { quoted } from '../../support/changes-text.js';
import { parseDiskSource } from '../../support/disk-source.js';
import { MEMORY } from '../../support/mount-flags.js';
import { parseOwner } from '../../support/owner.js';
import { parseBytes, parseSize } from '../../support/size.js';
import { SOCKET_PATH_MAX_BYTES } from '../../../manager/control/state-directory.js';
import type { DesiredCard, DesiredChassis, DesiredDisk, DesiredMount } from '../plan/desired.js';
import { frameSaid, type Frame } from '../plan/frame.js';
import { GuestWanted } from './guest-wanted.js';
import type { NodeReader } from './node-reader.js';
import type { Position } from './problems.js';
import type { ManifestCard, ManifestChassis, ManifestDisk, ManifestMount } from './schema.js';

/** What a thing is called, and where it is. */
type Named = Pick<DesiredMount, 'name' | 'at'>;

/** Reads what a manifest's entries mean; paths are from `directory` on. Problems are the reader's. */
export class Wanted {
  private readonly reader: NodeReader;
  private readonly directory: string;

  constructor(reader: NodeReader, directory: string) {
    this.reader = reader;
    this.directory = directory;
  }

  chassis(name: string, holder: Record<string, ManifestChassis>): DesiredChassis {
    const entry = holder[name];
    const each = <E extends object, W extends object>(
      entries: Record<string, E> = {},
      want: (entry: E, named: Named) => W | undefined,
    ) =>
      this.reader.keysOf(entries).flatMap((key) => {
        const named = { name: key, at: this.reader.placeOf(entries, key) };
        const wanted = Object.hasOwn(entries, key) ? want(entries[key], named) : undefined;
        return wanted === undefined ? [] : [{ ...wanted, ...named }];
      });
    return {
      ...{ name, at: this.reader.placeOf(holder, name) },
      ...this.frame(entry),
      mounts: each(entry.mounts, (mount) => this.mount(mount)),
      disks: each(entry.disks, (disk, named) => this.disk(disk, named)),
      cards: each(entry.cards, (card) => this.card(card)),
      ...new GuestWanted(this.reader, (text) => this.path(text)).of(entry),
    };
  }

  private frame(entry: ManifestChassis): Frame {
    const { slots, vmm } = entry;
    const apiSocket = entry.apiSocket === undefined ? undefined : this.path(entry.apiSocket);
    if (apiSocket !== undefined && Buffer.byteLength(apiSocket) > SOCKET_PATH_MAX_BYTES)
      this.refuse(
        entry,
        'apiSocket',
        `${apiSocket} is longer than the ${SOCKET_PATH_MAX_BYTES} bytes that a socket's path may have`,
        'choose a shorter one',
      );
    return frameSaid({ slots, vmm, apiSocket });
  }

  private mount(entry: ManifestMount): Omit<DesiredMount, keyof Named> | undefined {
    const source = this.source(entry.source);
    const policy = this.policy(entry.policy);
    const owner = this.owner(entry);
    const overlay = this.overlay(entry);
    const { target, watch, slot } = entry;
    const terms: DesiredMount['terms'] = {
      ...{ source, readOnly: entry.readOnly ?? false },
      ...(policy && { policy }),
      ...(owner && { owner }),
      ...(overlay && { overlay }),
      ...(target !== undefined && { target }),
      ...(watch && { watch }),
    };
    this.checkTerms(entry, terms);
    this.checkCarrier(entry);
    const { via = 'auto', permanent = false, port = 'auto' } = entry;
    return { terms, via, permanent, port, ...(slot !== undefined && { slot }) };
  }

  private disk(entry: ManifestDisk, { name, at }: Named): Omit<DesiredDisk, keyof Named> | undefined {
    const source = this.diskSource(entry, at);
    if (!source) return undefined;
    const { overlay = false, overlayDirectory, serial, queues = DISK_QUEUES_DEFAULT } = entry;
    const { slot, permanent = false, port = 'auto' } = entry;
    const sizeBytes = entry.size === undefined ? undefined : this.diskSize(entry, entry.size);
    const isFile = source.type === 'file' || source.type === 'nbd';
    if (overlay && (entry.readOnly || !isFile))
      this.refuse(entry, 'overlay', 'an overlay is for writing over an image that stays as it is');
    if (overlayDirectory !== undefined && !overlay)
      this.refuse(entry, 'overlayDirectory', 'it is for an overlay', 'add overlay: true');
    if (entry.size !== undefined && !isFile)
      this.refuse(entry, 'size', 'this disk has its size from its source', 'leave it out');
    return {
      options: {
        ...{ source, overlay, readOnly: (entry.readOnly ?? false) || source.type === 'cloud-init', port },
        ...(overlayDirectory !== undefined && { overlayDirectory: this.path(overlayDirectory) }),
        serial: serial ?? name.slice(0, SERIAL_MAX_LENGTH),
        ...{ queues, permanent },
        ...(slot !== undefined && { slot }),
      },
      ...(sizeBytes !== undefined && { sizeBytes }),
    };
  }

  private card(entry: ManifestCard): Omit<DesiredCard, keyof Named> {
    const network = Value.Default(Network, entry.network) as Network;
    const { mac, mtu, queuePairs = 1, up = true, slot, permanent = false, port = 'auto' } = entry;
    return {
      options: {
        ...{ network, queuePairs, up, permanent, port },
        ...(mac !== undefined && { mac }),
        ...(mtu !== undefined && { mtu }),
        ...(slot !== undefined && { slot }),
      },
    };
  }

  private source(text: string): Source {
    return text === MEMORY ? { type: 'memory' } : { type: 'directory', path: this.path(text) };
  }

  private policy(entry: ManifestMount['policy']): Policy | undefined {
    if (!entry || Object.keys(entry).length === 0) return undefined;
    const { maxBytes, ...rest } = entry;
    if (maxBytes === undefined) return rest;
    const bytes =
      typeof maxBytes === 'number' ? maxBytes : this.parsed(entry, 'maxBytes', () => parseBytes(maxBytes));
    return { ...rest, maxBytes: bytes ?? 0 };
  }

  private owner(entry: ManifestMount): Owner | undefined {
    const { owner } = entry;
    if (owner === undefined) return undefined;
    return this.parsed(entry, 'owner', () => parseOwner(typeof owner === 'string' ? [owner] : owner));
  }

  private overlay({ overlay }: ManifestMount): OverlayRequest | undefined {
    if (overlay === undefined || overlay === false) return undefined;
    if (overlay === true) return { type: 'kept' };
    return overlay === MEMORY ? { type: 'memory' } : { type: 'directory', path: this.path(overlay) };
  }

  private checkTerms(entry: ManifestMount, { source, overlay, owner, watch }: Partial<MountRequest>): void {
    if (source?.type !== 'memory') return;
    if (overlay)
      this.refuse(entry, 'overlay', 'mem: has nothing that could be left as it is', 'leave it out');
    if (owner?.type === 'mapped')
      this.refuse(entry, 'owner', 'mem: keeps owners and modes by itself', 'leave it out');
    if (watch) this.refuse(entry, 'watch', 'mem: has no changes on the host to watch', 'leave it out');
  }

  /** What only the tree's mounts have, and what only those on a function or a queue. */
  private checkCarrier(entry: ManifestMount): void {
    const { via = 'auto', target, watch, slot, permanent, port, policy } = entry;
    const ofTree = target !== undefined ? 'target' : watch ? 'watch' : undefined;
    const ofFunction =
      slot !== undefined
        ? 'slot'
        : permanent
          ? 'permanent'
          : port !== undefined && port !== 'auto'
            ? 'port'
            : undefined;
    if (ofTree && (via === 'function' || via === 'queue'))
      this.refuse(
        entry,
        ofTree,
        'only mounts of the tree have a helper in the guest',
        'leave via out, or say via: tree',
      );
    const isOfTree = via === 'tree' || (via === 'auto' && ofTree !== undefined);
    if (ofFunction && (isOfTree || (via === 'queue' && ofFunction !== 'port')))
      this.refuse(entry, ofFunction, 'it is for a mount on a function of its own', 'leave it out');
    if (isOfTree && policy?.maxFids !== undefined)
      this.refuse(
        policy,
        'maxFids',
        'the mounts of the tree share one session',
        'leave it out, or say via: function',
      );
  }

  private diskSource(entry: ManifestDisk, at: Position): DesiredDisk['options']['source'] | undefined {
    const { source, cloudInit } = entry;
    if (cloudInit !== undefined && source === undefined)
      return { type: 'cloud-init', path: this.path(cloudInit) };
    if (source !== undefined && cloudInit === undefined)
      return this.parsed(entry, 'source', () => parseDiskSource(expanded(source), this.directory));
    if (source !== undefined)
      return this.refuse(entry, 'cloudInit', 'it is in place of a source', 'leave one out');
    const isThere = this.reader.keysOf(entry).some((key) => key === 'source' || key === 'cloudInit');
    return isThere
      ? undefined
      : this.reader.refuse(at, 'a disk has a source or cloudInit', 'add: source: IMAGE');
  }

  private diskSize(entry: ManifestDisk, size: number | string): number | undefined {
    return this.parsed(entry, 'size', () => parseSize(String(size)));
  }

  private path(text: string): string {
    return resolve(this.directory, expanded(text));
  }

  private parsed<T>(holder: object, key: string, parse: () => T): T | undefined {
    try {
      return parse();
    } catch (error) {
      const { suggestion } = error instanceof ChassisError ? error : { suggestion: undefined };
      return this.refuse(holder, key, error instanceof Error ? error.message : String(error), suggestion);
    }
  }

  private refuse(holder: object, key: string, message: string, suggestion?: string): undefined {
    return this.reader.refuse(this.reader.placeOf(holder, key), `${quoted(key)}: ${message}`, suggestion);
  }
}

/** As a shell would. */
function expanded(path: string): string {
  return path.startsWith('~/') ? join(homedir(), path.slice(2)) : path;
}
