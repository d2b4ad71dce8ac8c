/** Does the steps of a plan, one after the other; where one fails, undoes those before it, the last one first. */
import { ChassisError, type Chassis, type Mount } from '../../manager/control/api.js';
import type { ChassisClient } from '../../manager/control/client.js';
import { operationText, type Operation, type Step } from './plan/operations.js';

/** What of the daemon's API an apply uses. */
export type ApplyClient = Pick<
  ChassisClient,
  | 'list'
  | 'get'
  | 'create'
  | 'delete'
  | 'attach'
  | 'detach'
  | 'changePolicy'
  | 'addDisk'
  | 'removeDisk'
  | 'resizeDisk'
  | 'addCard'
  | 'removeCard'
  | 'setLink'
>;

/** What was done, or undone. */
export interface Done {
  readonly operation: string;
  readonly durationMs: number;
}

export interface Failure {
  readonly operation: string;
  readonly message: string;
}

export interface ExecuteOptions {
  /** What the guest or the VMM may take for each step. */
  readonly timeoutMs: number;
  /** Hears of each step once it is done, and of what is undone. */
  readonly onDone: (done: Done, isUndone: boolean) => void;
  /** Ends it after the step that is under way, and undoes what was done. */
  readonly signal?: AbortSignal;
}

/** An apply that did not get to its end. */
export interface Stopped {
  /** What did not work; absent where it was interrupted. */
  readonly failed?: Failure;
  readonly undone: readonly string[];
  readonly notUndone: readonly Failure[];
  /** What is not as before although it was undone. */
  readonly lost: readonly string[];
}

/**
 * Does all steps, or as good as none: `before` is what was there.
 * @throws ChassisError of the step that failed, with `details` of the kind Stopped; Interrupted likewise
 */
export async function execute(
  client: ApplyClient,
  steps: readonly Step[],
  before: readonly Chassis[],
  options: ExecuteOptions,
): Promise<Done[]> {
  const done: Done[] = [];
  for (const [i, step] of steps.entries()) {
    try {
      if (options.signal?.aborted) throw new Interrupted();
      done.push(await timed(client, step.operation, options, false));
    } catch (error) {
      const rollback = new Rollback(client, options);
      await rollback.run(steps.slice(0, i), step, before);
      throw rollback.failure(step, error);
    }
  }
  return done;
}

/** Somebody asked that it end. */
export class Interrupted extends Error {
  readonly code = 'INTERRUPTED';
  /** As a shell has it of a program that SIGINT ended; where oclif looks. */
  readonly oclif = { exit: 130 };

  constructor() {
    super('interrupted');
  }
}

class Rollback {
  private readonly client: ApplyClient;
  private readonly options: ExecuteOptions;
  private readonly undone: string[] = [];
  private readonly notUndone: Failure[] = [];
  private readonly lost: string[] = [];
  private isDaemonGone = false;

  constructor(client: ApplyClient, options: ExecuteOptions) {
    this.client = client;
    this.options = options;
  }

  async run(done: readonly Step[], failed: Step, before: readonly Chassis[]): Promise<void> {
    const arrived = done.filter(({ operation }) => !isDeparture(operation));
    await this.undoAll(arrived);
    // What left had a place, which what carries mounts may have now.
    await this.dropCarriers([...arrived, failed], before);
    await this.undoAll(done.filter(({ operation }) => isDeparture(operation)));
  }

  failure(step: Step, error: unknown): Error {
    const { undone, notUndone, lost } = this;
    const operation = operationText(step.operation);
    const message = error instanceof Error ? error.message : String(error);
    const isInterrupted = error instanceof Interrupted;
    const details: Stopped = {
      ...(!isInterrupted && { failed: { operation, message } }),
      ...{ undone, notUndone, lost },
    };
    const place = step.at ? `${step.at.file}:${step.at.line}:${step.at.column}: ` : '';
    const first = isInterrupted ? message : `${place}cannot ${operation}: ${message}`;
    const text = [first, ...this.remarks()].join('\n');
    if (isInterrupted) return Object.assign(error, { message: text, details });
    if (!(error instanceof ChassisError))
      return Object.assign(new Error(text, { cause: error }), { details });
    return Object.assign(new ChassisError(error.code, text, this.suggestion(error)), { details });
  }

  private remarks(): string[] {
    const { undone, notUndone, lost } = this;
    const count = undone.length === 1 ? '1 step' : `${undone.length} steps`;
    return [
      undone.length > 0 ? `what was begun is undone (${count})` : 'nothing was changed before it',
      ...notUndone.map(({ operation, message }) => `not undone, since it cannot ${operation}: ${message}`),
      ...lost.map((what) => `not as before: ${what}`),
    ];
  }

  private suggestion(error: ChassisError): string | undefined {
    return this.isDaemonGone
      ? 'start the daemon (chassis serve), then apply again: it goes on from what is there'
      : error.suggestion;
  }

  private async undoAll(steps: readonly Step[]): Promise<void> {
    for (const step of [...steps].reverse()) {
      if (step.loss !== undefined) this.lost.push(step.loss);
      for (const operation of step.undo) await this.undo(operation);
    }
  }

  private async undo(operation: Operation): Promise<void> {
    const text = operationText(operation);
    if (this.isDaemonGone) {
      this.notUndone.push({ operation: text, message: 'no daemon answers' });
      return;
    }
    try {
      this.undone.push((await timed(this.client, operation, this.options, true)).operation);
    } catch (error) {
      this.isDaemonGone = error instanceof ChassisError && error.code === 'NO_DAEMON';
      this.notUndone.push({
        operation: text,
        message: error instanceof Error ? error.message : String(error),
      });
    }
  }

  /** The tree, and the function whose queues carry mounts, come with the first mount that needs them. */
  private async dropCarriers(steps: readonly Step[], before: readonly Chassis[]): Promise<void> {
    const attached = steps.flatMap(({ operation }) => (operation.do === 'attach' ? [operation.chassis] : []));
    for (const name of new Set(attached)) {
      const known = before.find((chassis) => chassis.name === name);
      if (!known || this.isDaemonGone) continue;
      const isNew = ({ tag }: Mount): boolean => known.mounts.every((mount) => mount.tag !== tag);
      const { mounts } = await this.client.get(name).catch(() => ({ mounts: [] }));
      for (const { tag } of carriersOf(mounts).filter(isNew))
        await this.undo({ do: 'detach', chassis: name, tags: [tag], keepFunction: false, force: false });
    }
  }
}

function isDeparture({ do: what }: Operation): boolean {
  return what === 'detach' || what === 'remove-disk' || what === 'remove-card' || what === 'delete';
}

async function timed(
  client: ApplyClient,
  operation: Operation,
  { timeoutMs, onDone }: ExecuteOptions,
  isUndone: boolean,
): Promise<Done> {
  const started = performance.now();
  await perform(client, operation, timeoutMs);
  const done = { operation: operationText(operation), durationMs: performance.now() - started };
  onDone(done, isUndone);
  return done;
}

async function perform(client: ApplyClient, operation: Operation, timeoutMs: number): Promise<unknown> {
  const { chassis } = operation;
  switch (operation.do) {
    case 'create': {
      const { slots, vmm, apiSocket, managedBy } = operation;
      return client.create(chassis, { slots, vmm, apiSocket, managedBy });
    }
    case 'delete':
      return deleteEmpty(client, chassis, timeoutMs);
    case 'attach':
      return client.attach(chassis, { ...operation.request, timeoutMs });
    case 'detach':
      return detach(client, operation, timeoutMs);
    case 'set-policy':
      return client.changePolicy(chassis, operation.tag, operation.change);
    case 'add-disk':
      return client.addDisk(chassis, { ...operation.request, timeoutMs });
    case 'remove-disk':
      return client.removeDisk(chassis, operation.name, { force: operation.force, timeoutMs });
    case 'resize-disk':
      return client.resizeDisk(chassis, operation.name, { sizeBytes: operation.sizeBytes });
    case 'add-card':
      return client.addCard(chassis, { ...operation.request, timeoutMs });
    case 'remove-card':
      return client.removeCard(chassis, operation.name, { force: operation.force, timeoutMs });
    case 'set-link':
      return client.setLink(chassis, operation.name, operation.up);
  }
}

/** Several leave with their slot where it has no others, and else one by one. */
async function detach(
  client: ApplyClient,
  { chassis, tags, force, keepFunction }: Extract<Operation, { do: 'detach' }>,
  timeoutMs: number,
): Promise<void> {
  const query = { force, keepFunction, timeoutMs };
  const isWhole = tags.length > 1 && (await haveSlot(client, chassis, tags));
  if (isWhole) await client.detach(chassis, tags[0], { ...query, slot: true });
  else for (const tag of tags) await client.detach(chassis, tag, query);
}

async function haveSlot(client: ApplyClient, chassis: string, tags: readonly string[]): Promise<boolean> {
  const { mounts } = await client.get(chassis);
  const first = mounts.find(({ tag }) => tag === tags[0]);
  const others = mounts.filter(
    ({ via, slot, tag }) => via === 'function' && slot === first?.slot && !tags.includes(tag),
  );
  return others.every(({ source }) => source === undefined);
}

/** What only carried mounts goes first: a guest that still has it mounted keeps the chassis, and nothing is forced. */
async function deleteEmpty(client: ApplyClient, name: string, timeoutMs: number): Promise<void> {
  const { mounts } = await client.get(name);
  for (const { tag } of carriersOf(mounts)) {
    try {
      await client.detach(name, tag, { timeoutMs });
    } catch (error) {
      // Functions that are kept leave together with their slot.
      if (!(error instanceof ChassisError && error.code === 'NO_MOUNT')) throw error;
    }
  }
  await client.delete(name, { timeoutMs });
}

/** Functions without a mount of their own: those that carry mounts, and kept ones. */
function carriersOf(mounts: readonly Mount[]): Mount[] {
  return mounts.filter(({ source }) => source?.type !== 'directory' && source?.type !== 'memory');
}
