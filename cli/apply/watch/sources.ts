import { statSync } from 'node:fs';

/** Which directory was at a path when its mount was first looked at: one that was made anew is another. */
export class Sources {
  private readonly seen = new Map<string, { readonly path: string; readonly identity: string }>();

  isGone(key: string, path: string): boolean {
    const identity = identityOf(path);
    if (identity === undefined) return true;
    const before = this.seen.get(key);
    if (before?.path === path) return before.identity !== identity;
    this.seen.set(key, { path, identity });
    return false;
  }

  /** Nothing shows it any more: what is there next is what counts. */
  forget(key: string): void {
    this.seen.delete(key);
  }
}

/** What cannot be looked at is taken to be there: the daemon knows more. */
function identityOf(path: string): string | undefined {
  try {
    const stat = statSync(path);
    return stat.isDirectory() ? `${stat.dev}:${stat.ino}` : undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' || code === 'ENOTDIR' ? undefined : String(code);
  }
}
