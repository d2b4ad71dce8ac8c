/** YAML 1.2 to nodes that know their places, within bounds: a manifest may come from anywhere. */
import {
  Composer,
  isScalar,
  Lexer,
  LineCounter,
  Parser,
  visit,
  type Alias,
  type Document,
  type Node,
  type ParsedNode,
} from 'yaml';
import type { Position, Problem } from './problems.js';

export const MANIFEST_MAX_BYTES = 1024 * 1024;
/** The deepest that a manifest of ours goes is 8; the composer recurses, and V8 ends the process where that goes too deep. */
const DEPTH_MAX = 64;
const DOCUMENTS_MAX = 1000;
const ERRORS_MAX = 20;
/** What the parser says of text with a colon at its end. */
const NESTED: readonly string[] = ['BLOCK_AS_IMPLICIT_KEY', 'BLOCK_IN_FLOW'];

export interface YamlDocument {
  readonly root: Node;
  /** Where a node, or a place in the text, is. */
  readonly at: (node: Node | number) => Position;
  /** What an alias stands for. */
  readonly target: (alias: Alias) => Node | undefined;
}

export interface YamlText {
  readonly documents: readonly YamlDocument[];
  readonly problems: readonly Problem[];
}

/** Documents without contents (comments alone) are left out; where there are problems, so are those that have them. */
export function readYaml(file: string, text: string): YamlText {
  const lines = linesOf(text);
  const at = (place: Node | number): Position => {
    const offset = typeof place === 'number' ? place : (place.range?.[0] ?? 0);
    const { line, col } = lines.linePos(Math.min(offset, text.length));
    return { file, line: Math.max(1, line), column: Math.max(1, col) };
  };
  try {
    const composed = compose(text);
    const problems = composed.flatMap((document) => faultsOf(document, at));
    const documents = composed.flatMap((document) =>
      document.errors.length > 0 || isEmpty(document.contents)
        ? []
        : [{ root: document.contents, at, target: aliasesOf(document) }],
    );
    return { documents, problems };
  } catch (error) {
    if (!(error instanceof Excess)) throw error;
    return { documents: [], problems: [{ ...at(error.offset), message: error.message }] };
  }
}

/** The package's parser tells of lines, but not of all once it has met a fault. */
function linesOf(text: string): LineCounter {
  const lines = new LineCounter();
  for (let start = 0; start >= 0;) {
    lines.addNewLine(start);
    const end = text.indexOf('\n', start);
    start = end < 0 ? -1 : end + 1;
  }
  return lines;
}

class Excess extends Error {
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

/** As the package's own `parseAllDocuments` does it, but looking at depth and number on the way. */
function compose(text: string): Document.Parsed[] {
  const parser = new Parser();
  const composer = new Composer({
    ...{ version: '1.2', schema: 'core', resolveKnownTags: false, prettyErrors: false, logLevel: 'silent' },
    // Its search is quadratic; whoever reads the nodes looks at keys anyway.
    uniqueKeys: false,
  });
  const documents: Document.Parsed[] = [];
  const take = (some: Iterable<Document.Parsed>): void => {
    for (const document of some) {
      documents.push(document);
      if (documents.length <= DOCUMENTS_MAX) continue;
      throw new Excess(`more than ${DOCUMENTS_MAX} documents in one file`, document.range[0]);
    }
  };
  for (const lexeme of new Lexer().lex(text)) {
    for (const token of parser.next(lexeme)) take(composer.next(token));
    if (parser.stack.length > DEPTH_MAX)
      throw new Excess(`nested deeper than ${DEPTH_MAX} levels`, parser.offset);
  }
  for (const token of parser.end()) take(composer.next(token));
  take(composer.end());
  return documents;
}

function isEmpty(contents: ParsedNode | null): contents is null {
  return contents === null || (isScalar(contents) && contents.value === null && contents.source === '');
}

/** Warnings are faults as well: of tags that nobody knows, which would be dropped. */
function faultsOf({ errors, warnings }: Document.Parsed, at: YamlDocument['at']): Problem[] {
  return [...errors, ...warnings].slice(0, ERRORS_MAX).map(({ pos, code, message }) => ({
    ...{ ...at(pos[0]), message: `no YAML: ${message}` },
    ...(NESTED.includes(code) && { suggestion: 'text that ends with a colon is put in quotes: "mem:"' }),
  }));
}

/** An alias stands for the last node before it that has its anchor. Found in one pass, since the package's own way is one for each alias. */
function aliasesOf(document: Document.Parsed): (alias: Alias) => Node | undefined {
  const anchors = new Map<string, Node>();
  const targets = new Map<Alias, Node>();
  visit(document, {
    Alias: (_, alias) => {
      const target = anchors.get(alias.source);
      if (target) targets.set(alias, target);
    },
    Value: (_, node) => {
      if (node.anchor !== undefined) anchors.set(node.anchor, node);
    },
  });
  return (alias) => targets.get(alias);
}
