import { shellQuote } from '../../manager/control/shell-quote.js';
import type { CommandInfo, FlagInfo } from '../reference/commands.js';
import { branchesOf, spellings } from './words.js';

/** A script for bash 4 or later. Where it has nothing to offer, bash offers files. */
export function bashCompletion(bin: string, commands: readonly CommandInfo[]): string {
  const branches = branchesOf(commands);
  const known = branches.flatMap(({ at, next }) => next.map(({ word }) => shellQuote(`${at} ${word}`)));
  return `# bash completion for ${bin}
_${bin}() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} command='' word i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    [[ $word == -- ]] && return
    [[ $word == -* ]] && continue
    case "$command $word" in
      ${known.join('|')}) command="\${command:+$command }$word" ;;
      *) break ;;
    esac
  done
  case "$command $prev" in
${commands.flatMap(valueCases).join('\n')}
  esac
  case "$command" in
${branches.map(({ at, next }) => `    ${shellQuote(at)}) COMPREPLY=($(compgen -W ${shellQuote(next.map(({ word }) => word).join(' '))} -- "$cur")) ;;`).join('\n')}
${commands.map(flagsCase).join('\n')}
  esac
}
complete -o bashdefault -o default -F _${bin} ${bin}
`;
}

function valueCases({ words, flags }: CommandInfo): string[] {
  return flags
    .filter(({ value, isPath }) => value !== undefined && !isPath)
    .map((flag) => {
      const patterns = spellings(flag).map((spelling) => shellQuote(`${words.join(' ')} ${spelling}`));
      return `    ${patterns.join('|')}) ${valuesOf(flag)}; return ;;`;
    });
}

/** Files are no answer where something else is wanted. */
function valuesOf({ options }: FlagInfo): string {
  if (!options) return 'compopt +o default +o bashdefault';
  return `COMPREPLY=($(compgen -W ${shellQuote(options.join(' '))} -- "$cur"))`;
}

function flagsCase({ words, flags }: CommandInfo): string {
  const all = ['--help', ...flags.flatMap(spellings)].join(' ');
  return `    ${shellQuote(words.join(' '))}) [[ $cur == -* ]] && COMPREPLY=($(compgen -W ${shellQuote(all)} -- "$cur")) ;;`;
}
