/** docs/commands.md: every command with its arguments, flags and examples, as `--help` has them. */
import type { CommandInfo, FlagInfo } from './commands.js';

const HEAD = `# Every command

What \`--help\` says, on one page; written from the commands by \`CHASSIS_WRITE_DOCS=1 npx vitest run --project fast test/cli/reference\`, and held to them by that test.
What they have in common, exit codes included, is in [the command line](cli.md). All take \`--help\`, \`--json\` and \`--dir\`.
`;
const COMMON = new Set(['json', 'dir', 'help']);

export function commandsPage(bin: string, commands: readonly CommandInfo[]): string {
  return `${[HEAD, ...commands.map((command) => section(bin, command))].join('\n')}`;
}

function section(
  bin: string,
  { words, summary, description, args, takesMore, flags, examples }: CommandInfo,
): string {
  const name = [bin, ...words].join(' ');
  const own = flags.filter((flag) => !COMMON.has(flag.name));
  const called = [
    name,
    ...args.map((arg) => (arg.required ? arg.name.toUpperCase() : `[${arg.name.toUpperCase()}]`)),
    ...(takesMore ? ['…'] : []),
    ...(own.length > 0 ? ['[options]'] : []),
  ];
  const rows = [
    ...args.map((arg) => row(`\`${arg.name.toUpperCase()}\``, arg.description)),
    ...own.map((flag) => row(flagNames(flag), flagText(flag))),
  ];
  return [
    `## ${name}\n`,
    `\`${called.join(' ')}\`\n`,
    `${escaped(summary)}\n`,
    ...(description === '' ? [] : [`${escaped(description)}\n`]),
    ...(rows.length > 0 ? [`| | |\n|---|---|\n${rows.join('\n')}\n`] : []),
    ...(examples.length > 0 ? [`\`\`\`sh\n${examples.join('\n')}\n\`\`\`\n`] : []),
  ].join('\n');
}

function row(name: string, text: string): string {
  return `| ${name} | ${escaped(text).replaceAll('\n', ' ')} |`;
}

function flagNames({ name, char, value }: FlagInfo): string {
  const long = `--${name}${value === undefined ? '' : ` ${value}`}`;
  return `\`${char === undefined ? '' : `-${char}, `}${long.replaceAll('|', String.raw`\|`)}\``;
}

function flagText({ description, value, options, multiple, required, default: preset }: FlagInfo): string {
  const remarks = [
    ...(required ? ['required'] : []),
    ...(options && options.join('|') !== value ? [`one of ${options.join(', ')}`] : []),
    ...(multiple ? ['may be repeated'] : []),
    ...(preset === undefined ? [] : [`default: ${preset}`]),
  ];
  return remarks.length === 0 ? description : `${description} (${remarks.join('; ')})`;
}

/** Nothing of it is markup. */
function escaped(text: string): string {
  return text.replaceAll(/[\\|<>*_]/g, String.raw`\$&`);
}
