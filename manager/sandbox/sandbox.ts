/** Whether the daemon's processes are confined, and why not where they are not. */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { closeFd, compileFilter } from '../../host/index.js';
import { ChassisError } from '../control/api.js';
import { bubblewrapped, type Confined } from './bubblewrap.js';
import { DENIED_CALLS } from './denied-calls.js';
import { launchConfined } from './launch.js';
import { MountMaker } from './mount-maker.js';

/** 'auto': where it can be. 'require': or it is not started. */
export const SandboxMode = { auto: 'auto', require: 'require', off: 'off' } as const;
export type SandboxMode = (typeof SandboxMode)[keyof typeof SandboxMode];

export class Sandbox {
  /** From which what is confined reaches the directories that it shows. */
  readonly mounts = new MountMaker();
  readonly #mode: SandboxMode;
  #problem: Promise<string | undefined> | undefined;
  #known: string | undefined;
  #filter: Filter | undefined;

  constructor(mode: SandboxMode) {
    this.#mode = mode;
  }

  /** Why processes are not confined; undefined where they are. Tried once. */
  problem(): Promise<string | undefined> {
    this.#problem ??= this.#mode === 'off' ? Promise.resolve('serve --sandbox=off') : this.#tryOut();
    return this.#problem.then((problem) => (this.#known = problem));
  }

  /** Why a process has none that runs without one. */
  get reason(): string {
    return this.#known ?? 'it was started without one; chassis upgrade or restart starts another';
  }

  /** Why one that is confined may make all system calls there are, where it may. */
  get unfiltered(): string {
    return this.#systemCalls.problem ?? this.reason;
  }

  /** Made once, and not before a process is to be confined. */
  get #systemCalls(): Filter {
    return (this.#filter ??= makeFilter());
  }

  /**
   * How a process is to be started, of which `line` is the script and its options; undefined without a sandbox. `folders` are those that it makes files in.
   * @throws ChassisError SANDBOX_UNAVAILABLE where there has to be one
   */
  async confine(
    [script, ...options]: readonly string[],
    folders: readonly string[],
  ): Promise<Confined | undefined> {
    const problem = await this.problem();
    if (problem === undefined)
      return bubblewrapped([script, ...options], script, folders, this.#systemCalls.program);
    if (this.#mode !== 'require') return undefined;
    throw new ChassisError(
      'SANDBOX_UNAVAILABLE',
      `no process is started without a sandbox, and there is none: ${problem}`,
      'mend that, or run the daemon with --sandbox=auto',
    );
  }

  /** Does all that a confined process takes. */
  async #tryOut(): Promise<string | undefined> {
    const { program } = this.#systemCalls;
    const { ended, errorOutput } = await launchConfined(
      bubblewrapped(['--version'], THIS, [], program),
      'pipe',
    );
    let said = '';
    errorOutput?.setEncoding('utf8').on('data', (text: string) => (said += text));
    const how = await ended;
    if (how.includes('ENOENT')) return 'there is no bwrap (Debian: apt install bubblewrap)';
    if (how !== 'it exited with status 0') return said.trim().split('\n').at(-1) || `bwrap: ${how}`;
    // Without mounts of their own, directories that a process is given lead to all others.
    const mount = await this.mounts.clone(dirname(THIS));
    if (mount < 0) return `directories cannot be made mounts of their own: errno ${-mount}`;
    closeFd(mount);
    return undefined;
  }
}

interface Filter {
  readonly program?: Uint8Array | undefined;
  readonly problem?: string;
}

function makeFilter(): Filter {
  try {
    const program = compileFilter(DENIED_CALLS);
    return program
      ? { program }
      : { problem: 'there is no libseccomp.so.2 (Debian: apt install libseccomp2)' };
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) };
  }
}

const THIS = fileURLToPath(import.meta.url);
