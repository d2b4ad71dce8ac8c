/** Forms by which something is plugged in. */
import { ask, pathOf } from './api.js';
import { html } from './elements.js';
import type { Act } from './table.js';

export function formsOf(chassis: string, act: Act): HTMLElement[] {
  return [
    form(
      'Attach a directory',
      act,
      [
        field('Directory on the host', 'path', '/home/me/src'),
        field('Tag', 'tag', 'src'),
        check('Read-only', 'readOnly'),
      ],
      (given) =>
        ask('POST', pathOf(chassis, 'attach'), {
          mounts: [
            {
              tag: given.get('tag'),
              source: { type: 'directory', path: given.get('path') },
              readOnly: given.has('readOnly'),
            },
          ],
        }),
    ),
    form(
      'Add a disk',
      act,
      [
        field('File on the host', 'path', '/var/images/data.img'),
        field('Name', 'name', 'data'),
        check('Read-only', 'readOnly'),
      ],
      (given) =>
        ask('POST', pathOf(chassis, 'disks'), {
          name: given.get('name'),
          source: { type: 'file', path: given.get('path') },
          readOnly: given.has('readOnly'),
        }),
    ),
    form(
      'Add a network card',
      act,
      [field('Name', 'name', 'lan0'), field('Switch', 'switch', 'lan')],
      (given) =>
        ask('POST', pathOf(chassis, 'cards'), {
          name: given.get('name'),
          network: { type: 'switch', switch: given.get('switch') },
        }),
    ),
  ];
}

function form(
  title: string,
  act: Act,
  fields: readonly HTMLElement[],
  send: (given: FormData) => Promise<unknown>,
): HTMLElement {
  const button = html('button', { type: 'submit' }, title);
  const made = html('form', { 'aria-label': title }, ...fields, button);
  made.addEventListener('submit', (event) => {
    event.preventDefault();
    act(button, async () => {
      await send(new FormData(made));
      made.reset();
    });
  });
  return made;
}

function field(label: string, name: string, placeholder: string): HTMLElement {
  const input = html('input', {
    name,
    placeholder,
    required: true,
    autocomplete: 'off',
    spellcheck: 'false',
  });
  return html('label', {}, label, input);
}

function check(label: string, name: string): HTMLElement {
  return html('label', { class: 'check' }, html('input', { type: 'checkbox', name }), label);
}
