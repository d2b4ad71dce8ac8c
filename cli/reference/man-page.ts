/** Man pages, in man(7): one for the program, one for each of its commands. */
import { ExitCode } from '../support/exit-codes.js';
import type { CommandInfo, FlagInfo } from '../reference/commands.js';

export interface Program {
  readonly bin: string;
  readonly version: string;
  readonly description: string;
}

export function programPage(
  { bin, version, description }: Program,
  commands: readonly CommandInfo[],
): string {
  return page([
    title(bin, bin, version),
    '.SH NAME',
    `${roff(bin)} \\- ${roff(sentence(description))}`,
    '.SH SYNOPSIS',
    `.B ${roff(bin)}`,
    '.I command',
    '[options]',
    '.SH COMMANDS',
    ...commands.flatMap(({ words, summary }) => [
      '.TP',
      `.BR ${roff(pageName(bin, words))} (1)`,
      roff(summary),
    ]),
    '.SH OPTIONS',
    'What all commands have:',
    ...flag({ name: 'help', description: 'Explain the command, with examples.', ...PLAIN }),
    ...flag({ name: 'json', description: 'Print one JSON document, errors too.', ...PLAIN }),
    ...flag({ name: 'dir', value: 'DIR', description: "The daemon's state directory.", ...PLAIN }),
    '.SH EXIT STATUS',
    ...Object.entries(ExitCode).flatMap(([name, code]) => ['.TP', `.B ${code}`, roff(name)]),
    '.SH ENVIRONMENT',
    ...entry(
      'CHASSIS_DIR',
      "The daemon's state directory. Without it: $XDG_RUNTIME_DIR/chassis, or /run/chassis for root.",
    ),
    ...entry('CHASSIS_QEMU', 'The QEMU to run.'),
  ]);
}

const PLAIN = { multiple: false, required: false, isPath: false } as const;

export function commandPage({ bin, version }: Program, command: CommandInfo): string {
  const { words, summary, description, args, flags, examples } = command;
  return page([
    title(pageName(bin, words), bin, version),
    '.SH NAME',
    `${roff(pageName(bin, words))} \\- ${roff(sentence(summary))}`,
    '.SH SYNOPSIS',
    `.B ${roff([bin, ...words].join(' '))}`,
    ...synopsis(command),
    '.SH DESCRIPTION',
    roff(summary),
    ...(description === '' ? [] : ['.PP', roff(description)]),
    ...(args.length === 0 ? [] : ['.SH ARGUMENTS']),
    ...args.flatMap((arg) => ['.TP', `.I ${roff(arg.name.toUpperCase())}`, roff(arg.description)]),
    '.SH OPTIONS',
    ...flags.flatMap((each) => flag(each)),
    ...(examples.length === 0 ? [] : ['.SH EXAMPLES', '.nf', ...examples.map(roff), '.fi']),
    '.SH EXIT STATUS',
    `Those of`,
    `.BR ${roff(bin)} (1).`,
  ]);
}

/** `chassis-disk-add` */
export function pageName(bin: string, words: readonly string[]): string {
  return [bin, ...words].join('-');
}

function title(name: string, bin: string, version: string): string {
  return `.TH "${roff(name.toUpperCase())}" 1 "" "${roff(`${bin} ${version}`)}" "User Commands"`;
}

function synopsis({ args, takesMore, flags }: CommandInfo): string[] {
  const required = flags.filter((each) => each.required);
  return [
    ...required.map(({ name, value }) => `\\-\\-${roff(name)} ${roff(value ?? '')}`.trimEnd()),
    ...args.map(({ name, required: must }) =>
      must ? roff(name.toUpperCase()) : `[${roff(name.toUpperCase())}]`,
    ),
    ...(takesMore ? ['\\&...'] : []),
    '[options]',
  ];
}

function flag({ name, char, value, description, options, multiple, default: preset }: FlagInfo): string[] {
  const names = `${char === undefined ? '' : `\\-${char}, `}\\-\\-${roff(name)}`;
  const remarks = [
    ...(options && options.join('|') !== value ? [`one of ${options.join(', ')}`] : []),
    ...(multiple ? ['may be repeated'] : []),
    ...(preset === undefined ? [] : [`default ${preset}`]),
  ];
  const remark = remarks.length > 0 ? ` (${remarks.join('; ')})` : '';
  return [
    '.TP',
    `\\fB${names}\\fR${value === undefined ? '' : ` \\fI${roff(value)}\\fR`}`,
    roff(`${description}${remark}`),
  ];
}

function entry(term: string, description: string): string[] {
  return ['.TP', `.B ${roff(term)}`, roff(description)];
}

/** A page's one-line description: no full stop at its end, as whatis(1) shows it. */
function sentence(text: string): string {
  return text.replace(/\.$/, '');
}

function page(lines: readonly string[]): string {
  return `${lines.join('\n')}\n`;
}

/** Text of a user's, in which nothing is a request or an escape. A line that begins with a dot or quote would be a request. */
export function roff(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll(/^([.'])/gm, '\\&$1');
}
