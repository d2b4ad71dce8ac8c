/** A process of the host that exchanges two names of an export, as fast as it can. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Exported } from './exported.js';

/** Exchanges `name` for what is called `link`, and back, until it is killed. */
const SWAPPER = `
  const { renameSync, writeSync } = require('node:fs');
  const [name, link, spare, swaps] = process.argv.slice(1);
  for (;;) {
    writeSync(1, '.');
    for (let i = 0; i < swaps; i += 2) {
      renameSync(name, spare); renameSync(link, name);
      renameSync(name, link); renameSync(spare, name);
    }
  }
`;
/** For so many it writes a byte. */
const SWAPS_A_BYTE = 512;

export class Swapper {
  /** How often the names were exchanged, as far as is known. */
  swaps = 0;
  readonly #process: ChildProcess;

  private constructor(process: ChildProcess) {
    this.#process = process;
    process.stdout?.on('data', (bytes: Uint8Array) => (this.swaps += bytes.length * SWAPS_A_BYTE));
  }

  /** Exchanges `name` for what is called `link`, and back. Resolves once it does. */
  static async start(exported: Exported, name: string, link: string): Promise<Swapper> {
    const paths = [name, link, 'spare'].map((each) => exported.at(each));
    const child = spawn(process.execPath, ['-e', SWAPPER, ...paths, String(SWAPS_A_BYTE)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const swapper = new Swapper(child);
    await once(child.stdout, 'data');
    return swapper;
  }

  async stop(): Promise<void> {
    const gone = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await gone;
  }
}
