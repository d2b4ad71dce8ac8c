/** The command line within this process, as starting one for each of a hundred commands takes a minute. */
import { fileURLToPath } from 'node:url';
import { Config } from '@oclif/core';
import { vi } from 'vitest';

export interface Ended {
  readonly exitCode: number;
  /** What it printed on standard output. */
  readonly stdout: string;
}

export function loadConfig(): Promise<Config> {
  return Config.load(fileURLToPath(new URL('../../../', import.meta.url)));
}

/** `id` as oclif has it: `disk:add`. Only with `--json`, since errors are thrown without it. */
export async function runInProcess(config: Config, id: string, words: readonly string[]): Promise<Ended> {
  const pieces: string[] = [];
  const log = vi
    .spyOn(console, 'log')
    .mockImplementation((text: unknown) => void pieces.push(`${String(text)}\n`));
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((bytes: string | Uint8Array) => {
    pieces.push(typeof bytes === 'string' ? bytes : Buffer.from(bytes).toString());
    return true;
  });
  const before = process.exitCode;
  process.exitCode = undefined;
  // Or oclif warns of what is of no interest to users.
  vi.stubEnv('NODE_ENV', 'production');
  try {
    await config.runCommand(id, [...words]);
    return { exitCode: Number(process.exitCode ?? 0), stdout: pieces.join('') };
  } finally {
    process.exitCode = before;
    vi.unstubAllEnvs();
    log.mockRestore();
    write.mockRestore();
  }
}
