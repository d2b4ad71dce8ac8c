import { shellQuote } from '../../manager/control/shell-quote.js';
import type { CommandInfo, FlagInfo } from '../reference/commands.js';
import { branchesOf, spellings } from './words.js';

/** A script for zsh, to be sourced, or to be a file `_chassis` in `$fpath`. */
export function zshCompletion(bin: string, commands: readonly CommandInfo[]): string {
  const branches = branchesOf(commands);
  const known = branches.flatMap(({ at, next }) => next.map(({ word }) => shellQuote(`${at} ${word}`)));
  return `#compdef ${bin}
_${bin}() {
  local command='' depth=1
  local -a next
  while ((depth + 1 < CURRENT)); do
    case "$command \${words[depth + 1]}" in
      ${known.join('|')}) command="\${command:+$command }\${words[depth + 1]}" ;;
      *) break ;;
    esac
    ((depth++))
  done
  case "$command" in
${branches.map(({ at, next }) => `    ${shellQuote(at)}) next=(${next.map(({ word, summary }) => shellQuote(`${word}:${summary}`)).join(' ')}); _describe command next ;;`).join('\n')}
${commands.map(({ words, flags }) => `    ${shellQuote(words.join(' '))}) shift $((depth - 1)) words; ((CURRENT -= depth - 1)); _arguments -s ${[HELP, ...flags].map(argument).join(' ')} '*:file:_files' ;;`).join('\n')}
  esac
}
compdef _${bin} ${bin}
`;
}

const HELP: FlagInfo = {
  name: 'help',
  description: 'Explain it',
  multiple: false,
  required: false,
  isPath: false,
};

/** As _arguments wants it: `*--deny[…]:PATTERN:`; a flag with a character excludes both where it is there once. */
function argument(flag: FlagInfo): string {
  const { value, options, isPath, description, multiple } = flag;
  const names = spellings(flag);
  const once = multiple ? '*' : `(${names.join(' ')})`;
  const action = options ? `(${options.join(' ')})` : isPath ? '_files' : ' ';
  const taken = value === undefined ? '' : `:${value.replaceAll(':', ' ')}:${action}`;
  const text = description.replaceAll(/[[\]:\\]/g, String.raw`\$&`);
  return names.map((name) => shellQuote(`${once}${name}[${text}]${taken}`)).join(' ');
}
