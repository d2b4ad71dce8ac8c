import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Args, Flags } from '@oclif/core';
import { execa } from 'execa';
import { ChassisError, type ErrorCode } from '../../manager/control/api.js';
import type { ExportListening, ExportMessage } from '../../manager/control/export-messages.js';
import { BaseCommand } from '../support/base-command.js';
import { MEMORY, MOUNT_FLAGS, termsOf, type MountFlags } from '../support/mount-flags.js';

const SERVER = fileURLToPath(new URL('../../manager/export/main.js', import.meta.url));
const MIN_MSIZE_BYTES = 4096;
const MAX_MSIZE_BYTES = 4 * 2 ** 20;

export default class Export extends BaseCommand {
  static override summary =
    'Serve a directory to 9p clients over sockets, in the foreground, without a daemon.';
  static override description =
    'Any 9p client can connect (9P2000.L, 9P2000.u and 9P2000): Linux itself, diod, Plan 9. Each gets a session of its own. A ' +
    'unix socket is private to this user. 9p asks nobody who they are: what listens on TCP is open to whoever reaches it, as this ' +
    'user, and so only loopback addresses are taken unless --allow-remote says otherwise. Ends on SIGINT or SIGTERM, and removes ' +
    'its sockets. With --json it says in one line of JSON that it is ready.';
  static override examples = [
    '<%= config.bin %> export ~/src --listen unix:/tmp/src.sock',
    '<%= config.bin %> export ~/src --listen tcp:127.0.0.1:5640 --listen tcp:[::1]:5640 --read-only',
    `<%= config.bin %> export ${MEMORY} --listen unix:/tmp/scratch.sock --msize 4194304`,
    "<%= config.bin %> export ~/src --listen unix:/tmp/src.sock --deny '**/.env' --overlay --upper ~/changes",
    '<%= config.bin %> export ~/public --listen tcp:0.0.0.0:564 --allow-remote --read-only',
  ];
  static override baseFlags = {};
  static override args = {
    DIR: Args.string({ description: `A directory of this machine, or "${MEMORY}"`, required: true }),
  };
  static override flags = {
    listen: Flags.string({
      char: 'l',
      description: 'Where: unix:/PATH or tcp:HOST:PORT, port 0 for any that is free; may be repeated',
      required: true,
      multiple: true,
      multipleNonGreedy: true,
    }),
    ...MOUNT_FLAGS,
    msize: Flags.integer({
      description: 'The largest message to agree to, in bytes',
      default: 2 ** 20,
      min: MIN_MSIZE_BYTES,
      max: MAX_MSIZE_BYTES,
    }),
    'allow-remote': Flags.boolean({ description: 'Listen on addresses that other machines reach, too' }),
  };

  async run(): Promise<{ listening: readonly ExportListening[]; pid?: number }> {
    const { args, flags } = await this.parse(Export);
    const line = [
      ...flags.listen.flatMap((address) => ['--listen', address]),
      ...['--msize', String(flags.msize)],
      ...['--terms', JSON.stringify(exportTerms(flags))],
      ...(flags['allow-remote'] ? ['--allow-remote'] : []),
      ...['--', args.DIR === MEMORY ? MEMORY : resolve(args.DIR)],
    ];
    const server = execa(process.execPath, [SERVER, ...line], {
      stdio: ['ignore', 'ignore', 'inherit'],
      ipc: true,
      reject: false,
    });
    // A terminal's Ctrl-C reaches both processes, a supervisor's signal only this one.
    const passOn = (signal: NodeJS.Signals): void => void server.kill(signal);
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, passOn);
    const message = await Promise.race([
      server.getOneMessage().catch(() => undefined),
      server.then(() => undefined),
    ]);
    const listening = started(message as ExportMessage | undefined);
    this.announce(args.DIR, listening, flags['allow-remote'], server.pid);
    const { exitCode } = await server;
    process.exitCode = exitCode ?? 1;
    return { listening, pid: server.pid };
  }

  private announce(
    source: string,
    listening: readonly ExportListening[],
    remote: boolean,
    pid?: number,
  ): void {
    if (remote)
      this.warn('whoever reaches these addresses may do what this user may: 9p has no authentication');
    if (this.jsonEnabled()) return void process.stdout.write(`${JSON.stringify({ listening, pid })}\n`);
    for (const { address, mountCommand } of listening)
      this.log(`${source} is served at ${address}\n  a Linux client mounts it with: ${mountCommand}`);
  }

  /** The line was printed once the server was ready; an error still is. */
  override logJson(json: unknown): void {
    if (typeof json === 'object' && json !== null && 'error' in json) super.logJson(json);
  }
}

/** @throws ChassisError BAD_REQUEST */
function exportTerms(flags: MountFlags): object {
  if (flags.overlay && flags.upper === undefined) {
    throw new ChassisError(
      'BAD_REQUEST',
      'an export has no daemon that could keep its changes',
      `say where they go: --upper FOLDER, or --upper ${MEMORY}`,
    );
  }
  return termsOf(flags);
}

/** @throws ChassisError what kept the server from starting */
function started(message: ExportMessage | undefined): readonly ExportListening[] {
  if (message === undefined) throw new ChassisError('INTERNAL', 'the server ended before it was ready');
  if ('listening' in message) return message.listening;
  const { code, message: text, suggestion } = message.error;
  throw new ChassisError(code as ErrorCode, text, suggestion);
}
