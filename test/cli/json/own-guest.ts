/** A daemon whose only chassis has a guest that is this machine: for commands that are about what runs in a guest. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ChassisError, type Chassis, type ExecPage, type ExecRequest } from '../../../manager/control/api.js';
import { ControlServer } from '../../../manager/control/server.js';
import type { ChassisService } from '../../../manager/control/service.js';
import { silentLog } from '../../support/log.js';

export class OwnGuest {
  private readonly server: ControlServer;
  private readonly children = new Map<number, ChildProcess>();

  private constructor(directory: string) {
    const service: Pick<ChassisService, 'list' | 'get' | 'exec' | 'execInput'> = {
      list: async () => [{ name: 'dev' } as Chassis],
      get: async () => ({ name: 'dev', guestHelper: true, guestCommands: true }) as unknown as Chassis,
      exec: (name, request) => this.exec(name, request),
      execInput: async (_name, command, { data, end }) => {
        const stdin = this.children.get(command)?.stdin;
        if (data !== undefined) stdin?.write(Buffer.from(data, 'base64'));
        if (end) stdin?.end();
      },
    };
    this.server = new ControlServer({
      ...{ socketPath: join(directory, 'api.sock'), service: service as ChassisService },
      log: silentLog,
    });
  }

  static async start(directory: string): Promise<OwnGuest> {
    mkdirSync(directory, { recursive: true });
    const guest = new OwnGuest(directory);
    await guest.server.start();
    return guest;
  }

  stop(): Promise<void> {
    return this.server.stop();
  }

  private async *exec(name: string, { command }: ExecRequest): AsyncGenerator<ExecPage> {
    if (name !== 'dev') throw new ChassisError('NO_CHASSIS', `there is no chassis ${name}`);
    const id = this.children.size + 1;
    const child = spawn(command[0], command.slice(1));
    child.stdin.on('error', () => undefined);
    this.children.set(id, child);
    const exited = new Promise<number>((resolve) => child.on('close', (code) => resolve(code ?? 1)));
    yield { command: id };
    for await (const bytes of child.stdout) yield { stdout: (bytes as Buffer).toString('base64') };
    yield { exitCode: await exited };
  }
}
