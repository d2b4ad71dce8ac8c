/**
 * A chassis's journal: one document in its folder, by which the next daemon knows what was asked for. It is replaced as a whole, so that
 * whoever reads it finds the one before a change or the one after.
 */
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { Value } from '@sinclair/typebox/value';
import { ChassisError } from './control/api.js';
import type { ChassisModel, ChildRecord } from './chassis/chassis.js';
import { documentOf, JournalDocument, JOURNAL_VERSION, type JournalFacts } from './journal-format.js';

/** Ten thousand mounts of a tree, each with a long policy. */
const MAX_BYTES = 256 << 20;

/** What a child looks like in the journal, as long as what may change of it is this. */
interface ChildText extends Pick<ChildRecord, 'readOnly' | 'policy' | 'revoked'> {
  readonly text: string;
}

export class Journal {
  readonly #path: string;
  readonly #chassis: string;
  /** Children are many, and change seldom: what each looks like is made once. */
  readonly #children = new WeakMap<ChildRecord, ChildText>();
  #written: string | undefined;
  #isClosed = false;

  /** Its folder is made with the first document. */
  constructor(path: string, chassis: string) {
    this.#path = path;
    this.#chassis = chassis;
  }

  /** Notes how the chassis is now. It is on the disk when this returns. @throws ChassisError STATE_UNWRITABLE */
  write(model: ChassisModel, facts: JournalFacts): void {
    if (this.#isClosed) return;
    const rest = JSON.stringify(documentOf(this.#chassis, model, facts));
    let children = '';
    for (const child of model.children.values())
      children += `${children === '' ? '' : ',\n'}${this.#childText(child)}`;
    const text = `${rest.slice(0, -1)},"children":[${children}]}\n`;
    if (text === this.#written) return;
    try {
      replaceFile(this.#path, text);
    } catch (error) {
      throw new ChassisError(
        'STATE_UNWRITABLE',
        `the daemon cannot note this in ${this.#path}: ${(error as Error).message}`,
        'make room there: until then, a daemon that is started anew would not know it',
      );
    }
    this.#written = text;
  }

  /** What happens from now on is not for the next daemon. */
  close(): void {
    this.#isClosed = true;
  }

  /** The chassis is given up. */
  remove(): void {
    this.#isClosed = true;
    rmSync(this.#path, { force: true });
  }

  #childText(child: ChildRecord): string {
    const { readOnly, policy, revoked } = child;
    const known = this.#children.get(child);
    if (known?.readOnly === readOnly && known.policy === policy && known.revoked === revoked)
      return known.text;
    const text = JSON.stringify(child);
    this.#children.set(child, { readOnly, policy, revoked, text });
    return text;
  }
}

function replaceFile(path: string, text: string): void {
  if (text.length > MAX_BYTES) throw new Error(`more than ${MAX_BYTES} bytes`);
  const fresh = `${path}.new`;
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  // Half of one, from a daemon that was killed; or somebody's link.
  rmSync(fresh, { force: true });
  const { O_WRONLY, O_CREAT, O_EXCL } = constants;
  withFile(openSync(fresh, O_WRONLY | O_CREAT | O_EXCL, 0o600), (fd) => {
    writeFileSync(fd, text);
    fsyncSync(fd);
  });
  renameSync(fresh, path);
  withFile(openSync(dirname(path), constants.O_RDONLY), fsyncSync);
}

/**
 * What an earlier daemon noted; undefined where it noted nothing.
 * @throws ChassisError JOURNAL_UNREADABLE, which names the file and the way out
 */
export function readJournal(path: string, chassis: string): JournalDocument | undefined {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  let document: unknown;
  try {
    document = withFile(openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK), (fd) => {
      const stat = fstatSync(fd);
      if (!stat.isFile()) throw new Error('it is no file');
      if (stat.size > MAX_BYTES) throw new Error(`it has more than ${MAX_BYTES} bytes`);
      return JSON.parse(readFileSync(fd, 'utf8')) as unknown;
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw journalError(path, chassis, (error as Error).message);
  }
  const version: unknown = (document as { version?: unknown } | null)?.version;
  if (typeof version === 'number' && version !== JOURNAL_VERSION)
    throw journalError(path, chassis, `it has version ${version}, and this daemon reads ${JOURNAL_VERSION}`);
  const problem = Value.Errors(JournalDocument, document).First();
  if (problem) throw journalError(path, chassis, `${problem.path || 'the document'}: ${problem.message}`);
  const read = document as JournalDocument;
  if (read.chassis !== chassis) throw journalError(path, chassis, `it is that of chassis ${read.chassis}`);
  return read;
}

export function journalError(path: string, chassis: string, reason: string): ChassisError {
  return new ChassisError(
    'JOURNAL_UNREADABLE',
    `chassis ${chassis} cannot be brought back from ${path}: ${reason}`,
    `a VM that runs goes on; start the daemon that wrote it, or mend it and start this one anew, or give the chassis up: chassis remove ${chassis} --force`,
  );
}

function withFile<T>(fd: number, use: (fd: number) => T): T {
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}
