/**
 * A commit's stage: a directory in the lower root, where new files are made before they get their names, and where directories that
 * were renamed wait for theirs. It is there while a commit runs, or after one that was killed.
 *
 * A directory of the lower layer and the upper one's word for where it is cannot change in one step. So a journal in the upper layer
 * holds where each directory was, until both have changed.
 */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import type { ByteString, FsNode } from '../file-system.js';
import { directoryAt, LAYERS_OWN, listEntries, lookAt, lookAtPath, removeTree } from './layer.js';
import type { OverlayContext } from './overlay-context.js';
import { JOURNAL_DIRECTORY, MARKS_DIRECTORY, STAGE_DIRECTORY } from './reserved-names.js';

/** What waits for its name, and must not be taken for something half made. */
const WAITING_PREFIX = 's';

export class Stage {
  readonly directory: FsNode;
  readonly #context: OverlayContext;
  readonly #journal: FsNode;
  #last = 0;

  private constructor(context: OverlayContext, directory: FsNode, journal: FsNode) {
    this.#context = context;
    this.directory = directory;
    this.#journal = journal;
  }

  static async open(context: OverlayContext): Promise<Stage | Failure> {
    const journal = await openJournal(context);
    if (isFailure(journal)) return journal;
    const directory = await directoryAt(context.lowerRoot, STAGE_DIRECTORY);
    if (isFailure(directory)) {
      journal.release();
      return directory;
    }
    const stage = new Stage(context, directory, journal);
    const error = await stage.#clear();
    if (error >= 0) return stage;
    stage.#release();
    return error;
  }

  /** Writes down that the directory of the lower layer at `source` is about to come here; answers its name here. */
  async announce(source: ByteString): Promise<ByteString | Failure> {
    for (;;) {
      const name = `${WAITING_PREFIX}${++this.#last}`;
      const look = await lookAt(this.directory, name);
      if (!isFailure(look)) look.node.release();
      if (look !== -Errno.ENOENT && isFailure(look)) return look;
      if (!isFailure(look) || this.#context.journal.has(name)) continue;
      const link = await this.#journal.symlink(name, source, LAYERS_OWN);
      if (isFailure(link)) return link;
      link.release();
      this.#context.journal.set(name, source);
      return name;
    }
  }

  /** Strikes what was announced: it has happened, or never will. */
  async strike(name: ByteString): Promise<number> {
    if (!this.#context.journal.has(name)) return 0;
    const error = await this.#journal.unlink(name, false);
    if (error < 0 && error !== -Errno.ENOENT) return error;
    this.#context.journal.delete(name);
    return 0;
  }

  /** Strikes what no directory refers to. */
  async strikeAllBut(names: ReadonlySet<ByteString>): Promise<number> {
    for (const name of [...this.#context.journal.keys()]) {
      const error = names.has(name) ? 0 : await this.strike(name);
      if (error < 0) return error;
    }
    return 0;
  }

  /** Takes the entry `name` out of a directory of the lower layer, to be removed when the stage is closed. */
  async trash(directory: FsNode, name: ByteString): Promise<number> {
    return directory.rename(name, this.directory, this.#context.newName());
  }

  /** Removes all that waits for nothing, and the stage itself where nothing is left. */
  async close(): Promise<number> {
    const waiting = await this.#clear();
    this.#release();
    if (waiting !== 0) return Math.min(waiting, 0);
    return this.#context.lowerRoot.unlink(STAGE_DIRECTORY, true);
  }

  #release(): void {
    this.directory.release();
    this.#journal.release();
  }

  /** Removes what waits for nothing; answers how many do wait. */
  async #clear(): Promise<number> {
    const entries = await listEntries(this.directory);
    if (isFailure(entries)) return entries;
    let waiting = 0;
    for (const { name } of entries) {
      if (name.startsWith(WAITING_PREFIX)) waiting++;
      const error = name.startsWith(WAITING_PREFIX) ? 0 : await removeTree(this.directory, name);
      if (error < 0) return error;
    }
    return waiting;
  }
}

/** Reads the journal that a killed commit left, before anything is looked up. */
export async function readJournal(context: OverlayContext): Promise<number> {
  const journal = await openJournal(context);
  if (isFailure(journal)) return journal;
  const entries = await listEntries(journal);
  let error = isFailure(entries) ? entries : 0;
  for (const { name } of isFailure(entries) ? [] : entries) {
    const link = await lookAt(journal, name);
    const source = isFailure(link) ? link : await link.node.readlink();
    if (!isFailure(link)) link.node.release();
    if (isFailure(source)) error = source;
    else context.journal.set(name, source);
  }
  journal.release();
  return error;
}

async function openJournal({ upperRoot }: OverlayContext): Promise<FsNode | Failure> {
  const marks = await lookAtPath(upperRoot, `/${MARKS_DIRECTORY}`);
  if (isFailure(marks)) return marks;
  const journal = await directoryAt(marks.node, JOURNAL_DIRECTORY);
  marks.node.release();
  return journal;
}
