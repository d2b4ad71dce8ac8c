/** What is said of a command that there is not: oclif itself would take what follows it for a part of its name. */
import type { Hook } from '@oclif/core';
import { CLIError } from '@oclif/core/errors';
import { didYouMean } from '../apply/manifest/problems.js';
import { quoted } from '../support/changes-text.js';
import { ExitCode } from '../support/exit-codes.js';

const hook: Hook.CommandNotFound = async function ({ id, argv = [], config }) {
  const [first, second] = id.split(':');
  const known = config.commands.map((command) => command.id.split(':'));
  const topic = known.filter((words) => words.length > 1 && words[0] === first);
  const typed = topic.length > 0 && second !== undefined ? second : first;
  const choices = topic.length > 0 ? topic.map((words) => words[1]) : known.map((words) => words[0]);
  const where = topic.length > 0 ? `${config.bin} ${first}` : config.bin;
  const message =
    topic.length > 0 && second === undefined
      ? `${first} is followed by one of: ${choices.join(', ')}`
      : `there is no command ${quoted(typed)} of ${where}`;
  const suggestion = didYouMean(typed, choices) ?? `see what there is: ${where} --help`;
  if (argv.includes('--json')) {
    this.log(JSON.stringify({ error: { code: 'USAGE', message, suggestion } }, null, 2));
    this.exit(ExitCode.USAGE);
  }
  throw new CLIError(message, { exit: ExitCode.USAGE, suggestions: [suggestion] });
};

export default hook;
