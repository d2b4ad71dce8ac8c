/**
 * What follows `--` on a command line, as it was typed. oclif's `argv` has it sorted by where a word is first: of two flags of one name, both
 * come before their values.
 */
export function afterDashes(words: readonly string[]): string[] {
  const dashes = words.indexOf('--');
  return dashes < 0 ? [] : words.slice(dashes + 1);
}
