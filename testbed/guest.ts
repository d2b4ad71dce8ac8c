import { setTimeout as delay } from 'node:timers/promises';
import { AgentChannel } from './agent-channel.js';
import { findBusybox } from './busybox.js';
import { GuestCommandError, TestbedError, type ShellResult } from './errors.js';
import { GuestProcess, type GuestExit } from './guest-process.js';
import { buildInitramfs, type ExtraFile } from './initramfs.js';
import { findKernel, type KernelVersion } from './kernel.js';
import type { OnProgress } from './progress.js';
import type { QemuBinary } from './qemu.js';

export interface GuestOptions {
  readonly qemu: QemuBinary;
  /** '6.12' where left out. */
  readonly kernel?: KernelVersion;
  /** 512 where left out. Of no effect beside `machineArgs`. */
  readonly memoryMiB?: number;
  /** Stand in for `-machine q35 -m …`; the machine must have a `pcie.0`. */
  readonly machineArgs?: readonly string[];
  /** Further arguments of QEMU. */
  readonly extraArgs?: readonly string[];
  /** Files to have in the guest. */
  readonly extraFiles?: readonly ExtraFile[];
  /** Further words on the kernel's command line. */
  readonly kernelArgs?: readonly string[];
  /** How long the guest may take until its agent answers; 120,000 where left out. */
  readonly bootTimeoutMs?: number;
  readonly onProgress?: OnProgress;
  /** Stops the boot, or the guest once it runs. */
  readonly signal?: AbortSignal | undefined;
}

export interface ShellOptions {
  /** 30,000 where left out. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * `quiet` because the console is slow. The crypto self-tests take half a second under emulation. A kernel that breaks stops QEMU
 * (`panic=-1` with QEMU's `-no-reboot`) instead of leaving everybody waiting.
 */
const kernelArguments = ['console=ttyS0', 'quiet', 'cryptomgr.notests', 'panic=-1', 'oops=panic'] as const;

const shutdownGraceMs = { poweroff: 5_000, SIGTERM: 3_000 } as const;
const retryPauseMs = 50;

/** A stock Debian Linux in an emulated machine, which runs shell scripts on demand. */
export class LinuxGuest {
  /** What `uname -r` says in the guest. */
  readonly release: string;
  /** Resolved when QEMU has ended, for whatever reason; never rejected. */
  readonly exited: Promise<GuestExit>;
  readonly #process: GuestProcess;
  readonly #agent: AgentChannel;

  /**
   * Starts a guest and waits until its agent answers. A failed or aborted boot leaves no process and no file behind.
   * @throws TestbedError GUEST_STOPPED or GUEST_TIMEOUT, with the console's end; see also `findKernel`.
   */
  static async boot(options: GuestOptions): Promise<LinuxGuest> {
    return LinuxGuest.#awaitAgent(await LinuxGuest.#start(options), options);
  }

  /**
   * Starts a QEMU that a guest is to move to, by the same options as its own but for `machineArgs`, which have QEMU's `-incoming` among them.
   * It answers once the guest runs there.
   */
  static async expect(options: GuestOptions, moving: LinuxGuest): Promise<LinuxGuest> {
    const qemu = await LinuxGuest.#start(options);
    // It has yet to read its files: they go with it.
    const agent = new AgentChannel(await qemu.agent, moving.#agent.nextId);
    return new LinuxGuest(qemu, agent, moving.release);
  }

  static async #start(options: GuestOptions): Promise<GuestProcess> {
    const { onProgress, signal } = options;
    const kernel = await findKernel(options.kernel ?? '6.12', onProgress, signal);
    const initramfs = await buildInitramfs(kernel, await findBusybox(onProgress, signal), options.extraFiles);
    signal?.throwIfAborted();
    const machine = options.machineArgs ?? ['-machine', 'q35', '-m', `${options.memoryMiB ?? 512}M`];
    return GuestProcess.start({
      qemu: options.qemu,
      imagePath: kernel.imagePath,
      initramfs,
      kernelArguments: [...kernelArguments, ...(options.kernelArgs ?? [])],
      machineArguments: [...machine, ...(options.extraArgs ?? [])],
    });
  }

  static async #awaitAgent(
    qemu: GuestProcess,
    { bootTimeoutMs = 120_000, signal }: GuestOptions,
  ): Promise<LinuxGuest> {
    const abort = () => qemu.kill('SIGKILL');
    signal?.addEventListener('abort', abort, { once: true });
    void qemu.exited.then(() => signal?.removeEventListener('abort', abort));
    try {
      signal?.throwIfAborted();
      return await withTimeout(LinuxGuest.#connect(qemu), bootTimeoutMs, 'the guest did not start in time');
    } catch (error) {
      // Where the guest stopped by itself, QEMU is about to say how.
      if (!hasStopped(error) || !(await endsWithin(qemu.exited, shutdownGraceMs.SIGTERM)))
        qemu.kill('SIGKILL');
      const exit = await qemu.exited;
      signal?.throwIfAborted();
      throw await explained(error, qemu, exit);
    }
  }

  static async #connect(qemu: GuestProcess): Promise<LinuxGuest> {
    const stopped = qemu.exited.then((exit): never => {
      throw new TestbedError('GUEST_STOPPED', `QEMU ended while the guest started (${describeExit(exit)})`);
    });
    const agent = new AgentChannel(await Promise.race([qemu.agent, stopped]));
    const release = await Promise.race([agent.hello, stopped]);
    await qemu.forgetFiles();
    return new LinuxGuest(qemu, agent, release);
  }

  private constructor(qemu: GuestProcess, agent: AgentChannel, release: string) {
    this.#process = qemu;
    this.#agent = agent;
    this.release = release;
    this.exited = qemu.exited;
  }

  /** QEMU's process id. */
  get pid(): number {
    return this.#process.pid!;
  }

  /**
   * Runs a POSIX shell script (busybox) as root. Calls run side by side, each in a session of its own, with no standard input. On a
   * timeout or an abort the script is killed with its session.
   * @throws TestbedError GUEST_TIMEOUT, or GUEST_STOPPED with the console's end where the guest ends meanwhile; the signal's reason.
   */
  async sh(script: string, { timeoutMs = 30_000, signal }: ShellOptions = {}): Promise<ShellResult> {
    signal?.throwIfAborted();
    const { id, result } = this.#agent.run(script);
    const aborted = abortPromise(signal);
    try {
      return await withTimeout(
        Promise.race([result, aborted.promise]),
        timeoutMs,
        `the guest is still running: ${script}`,
      );
    } catch (error) {
      this.#agent.abandon(id);
      throw error instanceof TestbedError ? await this.#explain(error) : error;
    } finally {
      aborted.dispose();
    }
  }

  /** As `sh`. @throws GuestCommandError also where the script's exit code is not 0. */
  async ok(script: string, options?: ShellOptions): Promise<ShellResult> {
    const result = await this.sh(script, options);
    if (result.exitCode !== 0) throw new GuestCommandError(script, result);
    return result;
  }

  /**
   * Runs a script again and again until it succeeds.
   * @throws GuestCommandError of the last attempt after `timeoutMs`; GUEST_TIMEOUT where an attempt is still running then.
   */
  async waitFor(script: string, timeoutMs = 10_000, signal?: AbortSignal): Promise<ShellResult> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const result = await this.sh(script, { timeoutMs: deadline - performance.now(), signal });
      if (result.exitCode === 0) return result;
      await delay(retryPauseMs, undefined, { signal });
      if (performance.now() > deadline) throw new GuestCommandError(script, result);
    }
  }

  /** The last 64 KiB of the guest's console: what the kernel printed. */
  async console(): Promise<string> {
    return this.#process.console();
  }

  /** Turns the guest off: by itself if it can, else the hard way. Resolved when QEMU has ended; may be called again. */
  async shutdown(): Promise<GuestExit> {
    this.#agent.poweroff();
    if (!(await endsWithin(this.exited, shutdownGraceMs.poweroff))) {
      this.#process.kill('SIGTERM');
      if (!(await endsWithin(this.exited, shutdownGraceMs.SIGTERM))) this.#process.kill('SIGKILL');
    }
    return this.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown();
  }

  /** A closed agent channel mostly means that QEMU is about to end: say how. */
  async #explain(error: TestbedError): Promise<TestbedError> {
    const ended = hasStopped(error) && (await endsWithin(this.exited, shutdownGraceMs.SIGTERM));
    return explained(error, this.#process, ended ? await this.exited : undefined);
  }
}

function hasStopped(error: unknown): error is TestbedError {
  return error instanceof TestbedError && error.code === 'GUEST_STOPPED';
}

/** Adds what QEMU and the guest's console said to an error. */
async function explained(
  error: unknown,
  qemu: GuestProcess,
  exit: GuestExit | undefined,
): Promise<TestbedError> {
  const { code, message } =
    error instanceof TestbedError ? error : new TestbedError('GUEST_STOPPED', String(error));
  const consoleTail = (await qemu.console()).trimEnd().split('\n').slice(-25).join('\n');
  const parts = [
    message,
    exit && describeExit(exit),
    exit?.stderr.trim(),
    consoleTail && `console:\n${consoleTail}`,
  ];
  return new TestbedError(code, parts.filter(Boolean).join('\n'), undefined, { cause: error });
}

function describeExit({ exitCode, signal }: GuestExit): string {
  return signal === undefined
    ? `QEMU's exit code: ${exitCode ?? 'none, it could not be started'}`
    : `QEMU got ${signal}`;
}

async function endsWithin(exited: Promise<unknown>, timeoutMs: number): Promise<boolean> {
  const timer = new AbortController();
  const late = delay(timeoutMs, false, { signal: timer.signal }).catch(() => false);
  const ended = await Promise.race([exited.then(() => true), late]);
  timer.abort();
  return ended;
}

async function withTimeout<T>(work: Promise<T>, timeoutMs: number, message: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new TestbedError('GUEST_TIMEOUT', `${message} (after ${timeoutMs} ms)`)),
      timeoutMs,
    );
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A promise that is rejected when the signal fires, and only then. */
function abortPromise(signal: AbortSignal | undefined): { promise: Promise<never>; dispose: () => void } {
  let abort = () => {};
  const promise = new Promise<never>((_, reject) => (abort = () => reject(signal?.reason as Error)));
  signal?.addEventListener('abort', abort, { once: true });
  return { promise, dispose: () => signal?.removeEventListener('abort', abort) };
}
