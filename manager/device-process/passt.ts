/**
 * passt, a program of its own that brings one card's traffic to the host's sockets without root (https://passt.top). It is at the other
 * end of a socket pair, and ends when that is closed: so none outlives its card, or a device process that was killed.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { Socket } from 'node:net';
import type { StreamPeer } from '../../devices/net/backends/stream/stream-backend.js';
import { closeFd, setBlocking, socketPair } from '../../host/index.js';
import { ChassisError, type PasstNetwork } from '../control/api.js';

/** The network that the guest is given by DHCP: addresses that QEMU's users know. IPv6 is as passt chooses. */
export const PASST_ADDRESSES = { guest: '10.0.2.15', gateway: '10.0.2.2', prefixLength: 24 } as const;

/** It says what it assigns once it has its ports, or it ends. One that does neither for so long is taken to run. */
export const STARTED_MS = 1000;
export const STARTED_LINE = /^DHCP:/m;
const OUTPUT_BYTES = 4096;

export class Passt implements StreamPeer {
  readonly name = 'passt';
  private readonly network: PasstNetwork;
  private child: ChildProcess | undefined;
  private output = '';
  /** What one says that another process has started. */
  private readonly taken: Socket[] = [];
  /** Of the first one, which nobody has asked for yet. */
  private firstFd: number | undefined;

  private constructor(network: PasstNetwork) {
    this.network = network;
  }

  /** Starts one, to see that it can be. @throws ChassisError NETWORK_UNAVAILABLE, with what passt says */
  static async start(network: PasstNetwork): Promise<Passt> {
    const passt = new Passt(network);
    passt.firstFd = passt.spawn();
    const problem = await passt.startProblem();
    if (problem === undefined) return passt;
    passt.close();
    throw problem;
  }

  /** One that another process has started, and is connected to as yet. `outputs` are what it says, for us to read on. */
  static takeOver(network: PasstNetwork, outputs: readonly number[]): Passt {
    const passt = new Passt(network);
    for (const fd of outputs) {
      const stream = new Socket({ fd, readable: true, writable: false });
      stream.on('error', () => undefined).resume();
      passt.taken.push(stream);
    }
    return passt;
  }

  /** What it says, for a process that is to read on: it would end where nobody does. */
  get outputs(): number[] {
    return [this.child?.stdout, this.child?.stderr, ...this.taken].flatMap((stream) => {
      // Node has no other way to the descriptor of a child's pipe.
      const fd =
        (stream as { readonly _handle?: { readonly fd?: number } } | null | undefined)?._handle?.fd ?? -1;
      return fd >= 0 ? [fd] : [];
    });
  }

  /** Another one, where the last has ended. */
  connect(): number {
    const fd = this.firstFd;
    this.firstFd = undefined;
    return fd ?? this.spawn();
  }

  close(): void {
    if (this.firstFd !== undefined) closeFd(this.firstFd);
    this.firstFd = undefined;
    this.child?.kill('SIGKILL');
  }

  private spawn(): number {
    this.child?.kill('SIGKILL');
    const [ours, theirs] = socketPair();
    // Of a frame that only went in part passt sends the rest by a call that has to wait, or the stream breaks in the middle of it.
    setBlocking(theirs);
    const child = spawn('passt', ['--foreground', '--fd', '3', ...passtArguments(this.network)], {
      stdio: ['ignore', 'pipe', 'pipe', theirs],
    });
    closeFd(theirs);
    this.child = child;
    this.output = '';
    // What it says later is of no use to anybody, but a pipe that nobody reads would stop it.
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output = (this.output + text).slice(0, OUTPUT_BYTES);
      });
    }
    child.on('error', () => undefined);
    return ours;
  }

  private startProblem(): Promise<ChassisError | undefined> {
    const { child } = this;
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(undefined), STARTED_MS);
      const settle = (problem: ChassisError | undefined) => {
        clearTimeout(timer);
        resolve(problem);
      };
      child?.once('error', (error: NodeJS.ErrnoException) => settle(cannotStartPasst(error)));
      child?.once('close', () => settle(passtRefused(this.output)));
      child?.stderr?.on('data', () => STARTED_LINE.test(this.output) && settle(undefined));
    });
  }
}

export function passtArguments({ hostLoopback, publish }: PasstNetwork): string[] {
  const { guest, gateway, prefixLength } = PASST_ADDRESSES;
  return [
    ...['--address', guest, '--netmask', String(prefixLength), '--gateway', gateway],
    ...(hostLoopback ? [] : ['--no-map-gw']),
    ...publish.flatMap((port) => ['--tcp-ports', `127.0.0.1/${port.host}:${port.guest}`]),
  ];
}

export function cannotStartPasst(error: NodeJS.ErrnoException): ChassisError {
  if (error.code !== 'ENOENT')
    return new ChassisError('NETWORK_UNAVAILABLE', `cannot start passt: ${error.message}`);
  return new ChassisError(
    'NETWORK_UNAVAILABLE',
    'there is no passt on the PATH of the daemon',
    'install it (Debian: apt install passt), or use --switch or --tap',
  );
}

export function passtRefused(output: string): ChassisError {
  const said = output.trim().split('\n').at(-1) ?? '';
  return new ChassisError(
    'NETWORK_UNAVAILABLE',
    `passt does not start${said === '' ? '' : `: ${said}`}`,
    'see that the ports to publish are free',
  );
}
