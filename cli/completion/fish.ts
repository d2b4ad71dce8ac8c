import type { CommandInfo, FlagInfo } from '../reference/commands.js';
import { branchesOf } from './words.js';

/** A script for fish 3 or later: `chassis completion fish > ~/.config/fish/completions/chassis.fish`. */
export function fishCompletion(bin: string, commands: readonly CommandInfo[]): string {
  const complete = (condition: string, rest: string) => `complete -c ${bin} -n ${quoted(condition)} ${rest}`;
  const topics = branchesOf(commands);
  return [
    `function __${bin}_at --description 'The words so far are these'`,
    `    test "$(commandline -opc | string match -v -- '-*' | string join ' ')" = "$argv"`,
    `end`,
    `function __${bin}_in --description 'The words so far begin with these'`,
    `    string match -q -- "$argv *" "$(commandline -opc | string match -v -- '-*' | string join ' ') "`,
    `end`,
    ...topics.flatMap(({ at, next }) =>
      next.map(({ word, summary }) =>
        complete(`__${bin}_at ${[bin, at].join(' ').trim()}`, `-f -a ${word} -d ${quoted(summary)}`),
      ),
    ),
    ...commands.flatMap(({ words, flags }) =>
      flags.map((flag) => complete(`__${bin}_in ${[bin, ...words].join(' ')}`, flagText(flag))),
    ),
    '',
  ].join('\n');
}

function flagText({ name, char, value, options, isPath, description }: FlagInfo): string {
  const names = `-l ${name}${char === undefined ? '' : ` -s ${char}`}`;
  const taken =
    value === undefined ? '' : options ? ` -x -a ${quoted(options.join(' '))}` : isPath ? ' -r -F' : ' -x';
  return `${names}${taken} -d ${quoted(description)}`;
}

/** Fish has escapes within single quotes, of two characters. */
function quoted(text: string): string {
  return `'${text.replaceAll(/[\\']/g, String.raw`\$&`)}'`;
}
