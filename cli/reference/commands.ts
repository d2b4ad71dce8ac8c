/** The commands as oclif.manifest.json has them: what man pages and completions are made of. */
import type { Command } from '@oclif/core';

export interface FlagInfo {
  readonly name: string;
  readonly char?: string;
  readonly description: string;
  /** What follows it, as help names it; absent where nothing does. */
  readonly value?: string;
  /** The values that it takes, where they are few. */
  readonly options?: readonly string[];
  readonly multiple: boolean;
  readonly required: boolean;
  readonly default?: string;
  /** Its value is the path of a file or directory. */
  readonly isPath: boolean;
}

export interface CommandInfo {
  /** `['disk', 'add']` */
  readonly words: readonly string[];
  readonly summary: string;
  readonly description: string;
  readonly args: readonly {
    readonly name: string;
    readonly description: string;
    readonly required: boolean;
  }[];
  /** It takes more arguments than it names. */
  readonly takesMore: boolean;
  readonly flags: readonly FlagInfo[];
  readonly examples: readonly string[];
}

/** Sorted by name, without hidden ones. */
export function commandsOf(commands: readonly Command.Cached[], bin: string): CommandInfo[] {
  return commands
    .filter(({ hidden }) => !hidden)
    .map((command) => ({
      words: command.id.split(':'),
      summary: text(command.summary, bin),
      description: text(command.description, bin),
      args: Object.entries(command.args)
        .filter(([, arg]) => !arg.hidden)
        .map(([name, arg]) => ({
          name,
          description: text(arg.description, bin),
          required: arg.required ?? false,
        })),
      takesMore: command.strict === false,
      flags: flagsOf(command, bin),
      examples: (command.examples ?? []).map((example) =>
        text(typeof example === 'string' ? example : example.command, bin),
      ),
    }))
    .sort((a, b) => (a.words.join(' ') < b.words.join(' ') ? -1 : 1));
}

function flagsOf({ flags }: Command.Cached, bin: string): FlagInfo[] {
  return Object.entries(flags)
    .filter(([, flag]) => !flag.hidden)
    .map(([name, flag]) => ({
      name,
      ...(flag.char !== undefined && { char: flag.char }),
      description: text(flag.summary ?? flag.description, bin),
      required: flag.required ?? false,
      ...(flag.type === 'option' ? optionInfo(name, flag) : { multiple: false, isPath: false }),
    }));
}

function optionInfo(name: string, flag: Extract<Command.Flag.Cached, { type: 'option' }>) {
  const value = flag.helpValue ?? flag.options?.join('|') ?? name.toUpperCase();
  return {
    value: Array.isArray(value) ? value.join(' ') : String(value),
    ...(flag.options && { options: flag.options }),
    multiple: flag.multiple ?? false,
    // oclif's manifest does not say which flags are Flags.file or Flags.directory.
    isPath: PATHS.has(name),
    ...(['string', 'number'].includes(typeof flag.default) && { default: String(flag.default) }),
  };
}

const PATHS = new Set([
  'dir',
  'file',
  'out',
  'kernel',
  'initrd',
  'disk',
  'qemu',
  'overlay-dir',
  'cloud-init',
  'api-socket',
]);

function text(template: string | undefined, bin: string): string {
  return (template ?? '').replaceAll(/<%= config\.bin %>/g, bin).trim();
}
