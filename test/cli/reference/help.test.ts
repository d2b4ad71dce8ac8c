import { Help, type Command, type Config } from '@oclif/core';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../json/in-process.js';

class CommandHelp extends Help {
  of(command: Command.Loadable): string {
    return this.formatCommand(command);
  }
}

/** Of all commands, since one that is new has to have it as well. */
describe('the help of every command', () => {
  let config: Config;
  let commands: Command.Loadable[];

  beforeAll(async () => {
    config = await loadConfig();
    const aliases = config.commands.flatMap((command) => command.aliases);
    commands = config.commands.filter(({ id }) => !aliases.includes(id));
  });

  it('says in a sentence what it does, how it is used, and shows examples', () => {
    const help = new CommandHelp(config, { stripAnsi: true });
    for (const command of commands) {
      expect(command.summary, command.id).toMatch(/^[A-Z].*\.$/);
      const text = help.of(command);
      expect(text, command.id).toMatch(/^USAGE$/m);
      expect(text, command.id).toMatch(/^EXAMPLES$/m);
      expect(text, command.id).toMatch(/--json/);
      for (const [name, { description, summary }] of Object.entries(command.flags))
        expect(summary ?? description, `${command.id} --${name}`).toMatch(/\S/);
    }
  });

  it('shows examples whose commands and flags there are', () => {
    const known = new Map(commands.map((command) => [command.id.replace(':', ' '), command]));
    for (const { id, examples = [] } of commands) {
      expect(examples.length, id).toBeGreaterThan(0);
      for (const line of examples.flatMap(callsOf)) {
        const [one, two] = line.split(' ').slice(1);
        const command = known.get(`${one} ${two}`) ?? known.get(one);
        expect(command, `${id}: ${line}`).toBeDefined();
        for (const [, flag] of line.replace(/ -- .*/, '').matchAll(/ --([a-z-]+)/g))
          expect(Object.keys(command?.flags ?? {}), `${id}: ${line}`).toContain(flag);
      }
    }
  });
});

/** What of an example calls this program, up to what the shell does with it. */
function callsOf(example: Command.Example): string[] {
  const text = typeof example === 'string' ? example : example.command;
  return [...text.matchAll(/<%= config\.bin %> (?!completions)[a-z][^|&;)>]*/g)].map(([call]) =>
    call.replace('<%= config.bin %>', 'chassis').trim(),
  );
}
