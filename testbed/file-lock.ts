import { execa } from 'execa';
import type { Activity } from './progress.js';
import { QemuUnavailableError } from './errors.js';

type Release = () => Promise<void>;

/**
 * Runs `work` while holding an exclusive lock on the file at `path` (created where missing, never removed, or two holders could
 * lock two different files of that name).
 *
 * Node has no flock(2), and a lock file with a process id in it cannot be taken over without a race. So util-linux' `flock`
 * holds the lock and then becomes a `cat` that reads our pipe: when this process ends, however that happens, so does the lock.
 */
export async function withFileLock<T>(path: string, activity: Activity, work: () => Promise<T>): Promise<T> {
  const release = (await acquire(path, ['--nonblock'], activity)) ?? (await waitForLock(path, activity));
  try {
    return await work();
  } finally {
    await release();
  }
}

async function waitForLock(path: string, activity: Activity): Promise<Release> {
  activity.onProgress?.({ step: 'waiting for another process that is building the same thing' });
  const release = await acquire(path, [], activity);
  if (release === undefined) throw new QemuUnavailableError('UNSUPPORTED_HOST', `cannot lock ${path}`);
  return release;
}

/** Takes the lock; undefined where `flock` ended without it. */
async function acquire(path: string, options: string[], { signal }: Activity): Promise<Release | undefined> {
  signal?.throwIfAborted();
  const args = [...options, '--no-fork', path, 'sh', '-c', 'echo locked; exec cat'];
  const holder = execa('flock', args, { reject: false, buffer: false, stderr: 'ignore' });
  const abort = () => holder.kill();
  signal?.addEventListener('abort', abort, { once: true });
  const locked = await new Promise<boolean>((resolve) => {
    holder.stdout.once('data', () => resolve(true));
    void holder.then(() => resolve(false));
  });
  signal?.removeEventListener('abort', abort);
  const release = async () => {
    holder.stdin.end();
    await holder;
  };
  if (locked && !signal?.aborted) return release;
  if (locked) await release();
  signal?.throwIfAborted();
  const { code } = await holder;
  if (code === 'ENOENT')
    throw new QemuUnavailableError('UNSUPPORTED_HOST', 'the flock command is missing', 'Install util-linux.');
  return undefined;
}
