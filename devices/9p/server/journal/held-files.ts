/** Open files that are about to lose their names: whoever holds their descriptors has them outlive the process, which a name cannot do. */
import { MessageType } from '../../protocol/constants.js';
import { isPromise, type FsNode, type OpenFile } from '../../fs/file-system.js';
import type { Failure } from '../../../errno.js';
import type { GivenDescriptor } from '../../../state-descriptors.js';
import type { Fid } from '../fid.js';
import type { Request } from '../request.js';
import type { Session } from '../session.js';

/** Where descriptors are held, by fid. */
export interface HeldFiles {
  /** Holds another descriptor of the same open file. Resolves once that outlives this process, or nobody is there who could see to it. */
  hold(fid: number, descriptor: number): Promise<void>;
  /** Lets go of a fid's. */
  release(fid: number): void;
  /** The one that was held for a process before this one; it is held still. */
  of(fid: number): GivenDescriptor | undefined;
}

export class OpenFiles {
  readonly #held: HeldFiles;
  readonly #session: Session;
  /** Fids with an open file, by number. */
  readonly #open = new Map<number, Fid>();
  readonly #holding = new Set<number>();

  constructor(held: HeldFiles, session: Session) {
    this.#held = held;
    this.#session = session;
  }

  /** The session is another one now, or none. `wentOn` where its files are those of a server before this one. */
  renew(wentOn: boolean): void {
    for (const number of this.#holding) if (!wentOn) this.#held.release(number);
    this.#holding.clear();
    this.#open.clear();
    if (!wentOn) return;
    for (const fid of this.#session.fids) {
      if (fid.file !== undefined) this.#open.set(fid.number, fid);
      if (this.#held.of(fid.number) !== undefined) this.#holding.add(fid.number);
      // Of a server that lives, which has its own held elsewhere.
      else if (fid.node?.names() === undefined) void this.#hold(fid);
    }
  }

  /** The fid's file is no more. */
  forget(number: number): void {
    this.#open.delete(number);
    if (this.#holding.delete(number)) this.#held.release(number);
  }

  /** A request is over, and has succeeded. */
  finished({ message: { type, fid } }: Request): void {
    if (type === MessageType.Tlopen || type === MessageType.Tlcreate) {
      const opened = this.#session.fid(fid);
      if (opened?.file !== undefined) this.#open.set(fid, opened);
    } else if (type === MessageType.Tclunk || type === MessageType.Tremove) {
      this.forget(fid);
    }
  }

  /** Has open files outlive the process that the request takes the name from; undefined where there are none. */
  hold(r: Request): Promise<unknown> | undefined {
    if (this.#open.size === 0) return undefined;
    const names = this.#namesTaken(r);
    if (names === undefined) return undefined;
    const holds: Promise<void>[] = [];
    for (const fid of this.#open.values()) {
      const { node } = fid;
      if (node === undefined || this.#holding.has(fid.number)) continue;
      if (node.entryName() !== names.at(-1) || !isAt(node, names)) continue;
      const held = this.#hold(fid);
      if (held !== undefined) holds.push(held);
    }
    return holds.length === 0 ? undefined : Promise.all(holds);
  }

  #hold({ number, file }: Fid): Promise<void> | undefined {
    const descriptor = file?.keep().descriptor ?? -1;
    if (descriptor < 0) return undefined;
    this.#holding.add(number);
    return this.#held.hold(number, descriptor);
  }

  /** The names that are taken away from what they lead to, or given to something else. */
  #namesTaken({ message: m }: Request): readonly string[] | undefined {
    switch (m.type) {
      case MessageType.Tremove:
        return this.#session.fid(m.fid)?.node?.names();
      case MessageType.Tunlinkat:
      case MessageType.Trename:
        return this.#entry(m.dfid, m.name);
      case MessageType.Trenameat:
        return this.#entry(m.dfid, m.newname);
    }
    return undefined;
  }

  #entry(directory: number, name: string): readonly string[] | undefined {
    const names = this.#session.fid(directory)?.node?.names();
    return names && [...names, name];
  }
}

function isAt(node: FsNode, names: readonly string[]): boolean {
  const its = node.names();
  return its?.length === names.length && its.every((name, i) => name === names[i]);
}

/** The node that a held descriptor leads to, below the root, by the names that it had; and what it is open as with these flags. */
export async function regainFile(
  root: FsNode,
  names: readonly string[],
  descriptor: GivenDescriptor,
): Promise<FsNode | Failure> {
  const answer = root.regain(names.join('/'), { descriptor, details: NO_DETAILS });
  return isPromise(answer) ? await answer : answer;
}

export async function reopenFile(
  node: FsNode,
  flags: number,
  descriptor: GivenDescriptor,
): Promise<OpenFile | Failure> {
  const answer = node.reopen(flags, { descriptor, details: NO_DETAILS });
  return isPromise(answer) ? await answer : answer;
}

const NO_DETAILS = new Uint8Array(0);
