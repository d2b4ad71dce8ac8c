import { Args } from '@oclif/core';
import { bashCompletion } from '../completion/bash.js';
import { fishCompletion } from '../completion/fish.js';
import { SHELLS, type Shell } from '../completion/words.js';
import { zshCompletion } from '../completion/zsh.js';
import { BaseCommand } from '../support/base-command.js';
import { commandsOf } from '../reference/commands.js';

const SCRIPTS = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion } as const;

export default class Completion extends BaseCommand {
  static override summary = "Print a script with which a shell completes this program's commands and flags.";
  static override examples = [
    '<%= config.bin %> completion bash > ~/.local/share/bash-completion/completions/<%= config.bin %>',
    'source <(<%= config.bin %> completion zsh)',
    '<%= config.bin %> completion fish > ~/.config/fish/completions/<%= config.bin %>.fish',
  ];
  static override args = {
    shell: Args.custom<Shell>({ options: [...SHELLS] })({
      description: SHELLS.join(', '),
      required: true,
    }),
  };

  async run(): Promise<{ shell: Shell; text: string }> {
    const { args } = await this.parse(Completion);
    const { bin, commands } = this.config;
    const text = SCRIPTS[args.shell](bin, commandsOf(commands, bin));
    this.log(text.trimEnd());
    return { shell: args.shell, text };
  }
}
