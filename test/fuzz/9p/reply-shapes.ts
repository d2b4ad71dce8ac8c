/** What replies look like, field by field, told by hand: a reply that is cut, padded or answers more than was asked for is found. */
import { Fields } from '../../devices/9p/server/support/wire.js';

/** A request's bytes as they were when they were handed over, and what the server may answer. */
export interface Asked {
  readonly type: number;
  readonly bytes: Uint8Array;
  readonly unix: boolean;
}

type Shape = (fields: Fields, asked: Asked) => void;

const qid: Shape = (fields) => void fields.qid();
const nothing: Shape = () => undefined;

function numbers(...lengths: number[]): Shape {
  return (fields) => {
    for (const lengthBytes of lengths) fields.number(lengthBytes);
  };
}

/** A count that is in the request at byte 19, and no more data than that. */
function counted(carriesData: boolean): Shape {
  return (fields, { bytes }) => {
    const count = fields.number(4);
    const asked = new Fields(bytes.subarray(19)).number(4);
    if (count > asked) throw new Error(`${count} bytes where ${asked} were asked for`);
    if (carriesData) fields.bytes(count);
  };
}

function entries(fields: Fields, asked: Asked): void {
  counted(false)(fields, asked);
  while (fields.left > 0) {
    qid(fields, asked);
    fields.bytes(9);
    if (fields.text() === '') throw new Error('an entry without a name');
  }
}

function walked(fields: Fields, { bytes }: Asked): void {
  const found = fields.number(2);
  const names = new Fields(bytes.subarray(15)).number(2);
  if (found > names) throw new Error(`${found} qids for ${names} names`);
  fields.bytes(found * 13);
}

function stat(fields: Fields, { unix }: Asked): void {
  const length = fields.number(2);
  if (length !== fields.left) throw new Error(`a stat of ${length} bytes in ${fields.left}`);
  fields.stat(unix);
}

const SHAPES: Readonly<Record<number, Shape>> = {
  7: numbers(4),
  9: (fields) => void fields.bytes(60),
  13: (fields) => void fields.bytes(17),
  15: (fields) => void fields.bytes(17),
  17: qid,
  19: qid,
  21: nothing,
  23: (fields) => void fields.text(),
  25: (fields) => void fields.bytes(153),
  27: nothing,
  31: numbers(8),
  33: nothing,
  41: entries,
  51: nothing,
  53: numbers(1),
  55: (fields) => {
    fields.bytes(21);
    fields.text();
  },
  71: nothing,
  73: qid,
  75: nothing,
  77: nothing,
  101: (fields) => {
    fields.number(4);
    fields.text();
  },
  105: qid,
  107: (fields, { unix }) => {
    fields.text();
    if (unix) fields.number(4);
  },
  109: nothing,
  111: walked,
  113: (fields) => void fields.bytes(17),
  115: (fields) => void fields.bytes(17),
  117: counted(true),
  119: counted(false),
  121: nothing,
  123: nothing,
  125: stat,
  127: nothing,
};

/** Throws where the reply, without its header, is not one of its type. */
export function checkShape(type: number, body: Uint8Array, asked: Asked): void {
  const shape = SHAPES[type];
  if (shape === undefined) throw new Error(`there is no message of type ${type}`);
  const fields = new Fields(body);
  shape(fields, asked);
  if (fields.left !== 0) throw new Error(`a reply of type ${type} has ${fields.left} bytes too many`);
}
