import { execa } from 'execa';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { mkdtemp, open, rm, writeFile, type FileHandle } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isAtLeast, type QemuBinary } from './qemu.js';
import { agentPortName } from './guest-init.js';

/** How QEMU ended. */
export interface GuestExit {
  /** Undefined where a signal ended it, or it could not be started. */
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  /** What QEMU printed last. */
  readonly stderr: string;
}

export interface ProcessOptions {
  readonly qemu: QemuBinary;
  readonly imagePath: string;
  readonly initramfs: Uint8Array;
  readonly kernelArguments: readonly string[];
  readonly machineArguments: readonly string[];
}

/** What `console()` keeps of the past. */
const tailBytes = 64 * 1024;
const exitWithParentVersion = [10, 2, 0] as const;

/**
 * A QEMU process with its console and the agent's socket. Its files live in a temporary folder until `forgetFiles`; QEMU and this
 * process hold open what they still need, so that afterwards nothing can be left behind.
 */
export class GuestProcess {
  readonly pid: number | undefined;
  /** Resolved when QEMU has ended; never rejected. */
  readonly exited: Promise<GuestExit>;
  /** The agent's connection, as soon as QEMU has made it. */
  readonly agent: Promise<Socket>;
  readonly #directory: string;
  readonly #server: Server;
  readonly #console: FileHandle;
  readonly #kill: (signal: NodeJS.Signals) => boolean;
  readonly #removeAtExit: () => void;
  #stderr = '';
  #finalConsole: string | undefined;

  static async start(options: ProcessOptions): Promise<GuestProcess> {
    const directory = await mkdtemp(join(tmpdir(), 'chassis-guest-'));
    try {
      const paths = guestPaths(directory);
      await writeFile(paths.initramfs, options.initramfs);
      const server = createServer();
      await once(server.listen(paths.agent), 'listening');
      const consoleFile = await open(paths.console, 'w+').catch((error: unknown) => {
        server.close();
        throw error;
      });
      return new GuestProcess(directory, server, consoleFile, options);
    } catch (error) {
      await rm(directory, { recursive: true, force: true });
      throw error;
    }
  }

  private constructor(directory: string, server: Server, consoleFile: FileHandle, options: ProcessOptions) {
    this.#directory = directory;
    this.#server = server;
    this.#console = consoleFile;
    this.#removeAtExit = () => rmSync(directory, { recursive: true, force: true });
    process.once('exit', this.#removeAtExit);
    this.agent = new Promise((resolve) => server.once('connection', resolve));
    const [file, ...prefix] = options.qemu.command;
    const child = execa(file, [...prefix, ...qemuArguments(guestPaths(directory), options)], {
      reject: false,
      stdin: 'ignore',
      stdout: 'ignore',
      buffer: false,
    });
    child.stderr.on(
      'data',
      (chunk: Buffer) => (this.#stderr = (this.#stderr + chunk.toString()).slice(-tailBytes)),
    );
    this.pid = child.pid;
    this.#kill = (signal) => child.kill(signal);
    this.exited = child.then((result) => this.#end(result.exitCode, result.signal));
  }

  /** Sends a signal to QEMU. */
  kill(signal: 'SIGTERM' | 'SIGKILL'): void {
    this.#kill(signal);
  }

  /** The last 64 KiB of the guest's console, also after its end. */
  async console(): Promise<string> {
    return this.#finalConsole ?? readTail(this.#console);
  }

  /** Removes the temporary folder: for once QEMU has read its files and connected to the agent's socket. */
  async forgetFiles(): Promise<void> {
    this.#server.close();
    await rm(this.#directory, { recursive: true, force: true });
    process.removeListener('exit', this.#removeAtExit);
  }

  async #end(exitCode: number | undefined, signal: string | undefined): Promise<GuestExit> {
    this.#finalConsole = await readTail(this.#console);
    await Promise.all([this.#console.close(), this.forgetFiles()]);
    return { exitCode, signal, stderr: this.#stderr };
  }
}

interface GuestPaths {
  readonly initramfs: string;
  readonly agent: string;
  readonly console: string;
}

function guestPaths(directory: string): GuestPaths {
  const path = (name: string) => join(directory, name);
  return { initramfs: path('initramfs'), agent: path('agent'), console: path('console') };
}

/**
 * The least that a guest needs; the caller's arguments add the machine, memory and devices. The agent's device sits high on the root
 * bus, out of the way of devices that are given no address, which QEMU numbers from below.
 */
function qemuArguments(paths: GuestPaths, options: ProcessOptions): string[] {
  const exitWithParent = isAtLeast(options.qemu.version, exitWithParentVersion);
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-accel', 'tcg,thread=multi'],
    ...(exitWithParent ? ['-run-with', 'exit-with-parent=on'] : []),
    ...options.machineArguments,
    ...[
      '-kernel',
      options.imagePath,
      '-initrd',
      paths.initramfs,
      '-append',
      options.kernelArguments.join(' '),
    ],
    ...['-chardev', `file,id=chassis-console,path=${escaped(paths.console)},append=on`],
    ...['-serial', 'chardev:chassis-console'],
    ...['-chardev', `socket,id=chassis-agent,path=${escaped(paths.agent)}`],
    ...['-device', 'virtio-serial-pci,id=chassis-serial,bus=pcie.0,addr=0x1e,max_ports=2'],
    ...['-device', `virtserialport,bus=chassis-serial.0,chardev=chassis-agent,name=${agentPortName}`],
  ];
}

/** A comma within an option's value is written twice. */
function escaped(path: string): string {
  return path.replaceAll(',', ',,');
}

async function readTail(file: FileHandle): Promise<string> {
  const { size } = await file.stat();
  const start = Math.max(0, size - tailBytes);
  const buffer = Buffer.alloc(Math.min(size, tailBytes));
  const { bytesRead } = await file.read(buffer, 0, buffer.length, start);
  return buffer.toString('utf8', 0, bytesRead);
}
