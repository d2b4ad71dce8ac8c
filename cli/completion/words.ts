/** What can be typed after what. */
import type { CommandInfo, FlagInfo } from '../reference/commands.js';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** A word that leads to commands: the program itself (''), or a topic. */
export interface Branch {
  readonly at: string;
  readonly next: readonly { readonly word: string; readonly summary: string }[];
}

export function branchesOf(commands: readonly CommandInfo[]): Branch[] {
  const branches = new Map<string, Map<string, string>>();
  for (const { words, summary } of commands) {
    for (let depth = 0; depth < words.length; depth++) {
      const at = words.slice(0, depth).join(' ');
      const next = branches.get(at) ?? new Map<string, string>();
      const isWhole = depth === words.length - 1;
      if (isWhole || !next.has(words[depth])) next.set(words[depth], isWhole ? summary : `${words[depth]} …`);
      branches.set(at, next);
    }
  }
  return Array.from(branches, ([at, next]) => ({
    at,
    next: Array.from(next, ([word, summary]) => ({ word, summary })),
  }));
}

/** `--format`, `-f` */
export function spellings({ name, char }: FlagInfo): string[] {
  return [`--${name}`, ...(char === undefined ? [] : [`-${char}`])];
}
