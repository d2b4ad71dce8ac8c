/** The whole terminal, drawn anew at each look, and the keys that are pressed on it. */
import { emitKeypressEvents } from 'node:readline';
import type { ReadStream, WriteStream } from 'node:tty';

/** Control sequences of ECMA-48, and xterm's second screen. */
const SECOND_SCREEN = '\x1b[?1049h\x1b[?25l';
const FIRST_SCREEN = '\x1b[?25h\x1b[?1049l';
const HOME = '\x1b[H';
const CLEAR_LINE = '\x1b[K';
const CLEAR_BELOW = '\x1b[J';

export interface Terminal {
  readonly input: ReadStream;
  readonly output: WriteStream;
}

export class Screen {
  private readonly terminal: Terminal;
  private readonly pressed: (_text: string | undefined, key: { name?: string; ctrl?: boolean }) => void;
  private text = '';
  private readonly redraw = (): void => this.draw(this.text);

  /** `onKey` gets the names of keys, as `q`, `left` or `escape`; Ctrl-C is `q` as well. */
  constructor(terminal: Terminal, onKey: (name: string) => void) {
    this.terminal = terminal;
    this.pressed = (_text, { name, ctrl }) => {
      if (name !== undefined) onKey(ctrl && name === 'c' ? 'q' : name);
    };
  }

  begin(): void {
    const { input, output } = this.terminal;
    output.write(SECOND_SCREEN);
    output.on('resize', this.redraw);
    emitKeypressEvents(input);
    input.setRawMode(true);
    input.on('keypress', this.pressed).resume();
  }

  /** What fits; lines that are too long are cut. */
  draw(text: string): void {
    const { output } = this.terminal;
    this.text = text;
    const lines = text.split('\n').slice(0, output.rows - 1);
    const drawn = lines.map((line) => `${[...line].slice(0, output.columns).join('')}${CLEAR_LINE}\n`);
    output.write(`${HOME}${drawn.join('')}${CLEAR_BELOW}`);
  }

  end(): void {
    const { input, output } = this.terminal;
    input.off('keypress', this.pressed).setRawMode(false).pause();
    output.off('resize', this.redraw);
    output.write(FIRST_SCREEN);
  }
}
