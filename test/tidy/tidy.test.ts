// The house's own rules, held by a test: which way imports go, how big a file may be, what source may not contain.

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';

const root = fileURLToPath(new URL('../..', import.meta.url));

interface SourceFile {
  readonly path: string;
  readonly text: string;
  readonly imports: readonly string[];
}

/** Every hand-written TypeScript file, by its path from the root. */
function readSources(): SourceFile[] {
  const files: SourceFile[] = [];
  for (const top of ['packages', 'test']) {
    for (const entry of readdirSync(join(root, top), { recursive: true, encoding: 'utf8' })) {
      const path = join(top, entry);
      if (!path.endsWith('.ts') || /(^|\/)(node_modules|dist|gen)\//.test(path)) continue;
      const text = readFileSync(join(root, path), 'utf8');
      files.push({ path, text, imports: importsOf(path, text) });
    }
  }
  return files;
}

/** What a file imports: relative ones as paths from the root, others as written. */
function importsOf(path: string, text: string): string[] {
  const specifiers = [...text.matchAll(/(?:\bfrom|\bimport\(?)\s*'([^']+)'/g)].map((match) => match[1]!);
  return specifiers.map((specifier) =>
    specifier.startsWith('.') ? normalize(join(dirname(path), specifier)) : specifier,
  );
}

const sources = readSources();
/** Without this file, which has to name what it forbids. */
const handWritten = sources.filter(({ path }) => path !== 'test/tidy/tidy.test.ts');
const isTest = (path: string) => path.endsWith('.test.ts') || path.includes('/testing/');

/** Layers of shared, lowest first: a file imports its own layer and lower ones. */
const sharedLayers = [['base'], ['format'], ['rpc', 'runtime'], ['testing']];

describe('tidy', () => {
  it('reads the whole tree, or the rules below would hold of nothing', () => {
    expect(sources.length).to.be.greaterThan(60);
    expect(sources.flatMap((source) => source.imports).length).to.be.greaterThan(200);
  });

  it('agent, controller and cli import shared, never each other', () => {
    const wrong: string[] = [];
    for (const { path, imports } of sources) {
      const self = /^packages\/([^/]+)\//.exec(path)?.[1];
      if (self === undefined) continue;
      for (const specifier of imports) {
        const other = /^@holdfast\/([^/]+)\//.exec(specifier)?.[1] ?? /^packages\/([^/]+)\//.exec(specifier)?.[1];
        if (other !== undefined && other !== self && other !== 'shared') wrong.push(`${path} → ${specifier}`);
        if (specifier.startsWith('test/') && !isTest(path)) wrong.push(`${path} → ${specifier}`);
      }
    }
    expect(wrong).to.deep.equal([]);
  });

  it('shared is layered: base, format, then rpc and runtime', () => {
    const layerOf = (path: string) => {
      const folder = /^packages\/shared\/src\/([^/]+)\//.exec(path)?.[1];
      return folder === undefined ? -1 : sharedLayers.findIndex((layer) => layer.includes(folder));
    };
    const wrong: string[] = [];
    for (const { path, imports } of sources) {
      if (layerOf(path) < 0 || isTest(path)) continue;
      for (const specifier of imports) {
        // Payloads are protobuf messages: their codecs are the one thing that format takes from rpc.
        if (specifier.includes('/rpc/gen/') && path.includes('/format/')) continue;
        if (layerOf(specifier) > layerOf(path)) wrong.push(`${path} → ${relative('packages/shared/src', specifier)}`);
      }
    }
    expect(wrong).to.deep.equal([]);
  });

  it('no import comes back to where it began, types included', () => {
    const importsOfPath = new Map(sources.map(({ path, imports }) => [path, imports]));
    const done = new Set<string>();
    const circles: string[] = [];
    const visit = (path: string, above: readonly string[]): void => {
      if (above.includes(path)) circles.push([...above.slice(above.indexOf(path)), path].join(' → '));
      if (above.includes(path) || done.has(path)) return;
      for (const next of importsOfPath.get(path) ?? []) if (importsOfPath.has(next)) visit(next, [...above, path]);
      done.add(path);
    };
    for (const path of importsOfPath.keys()) visit(path, []);
    expect(circles).to.deep.equal([]);
  });

  it('core code does not see wire types: api/, rpc/, link/ and the command line translate', () => {
    const mayTranslate =
      /^packages\/(controller\/src\/api|agent\/src\/link|shared\/src\/(rpc|format)|cli\/src)\/|^test\//;
    const wrong = sources
      .filter(({ path }) => !mayTranslate.test(path) && !isTest(path))
      .filter(({ imports }) => imports.some((specifier) => specifier.includes('rpc/gen/')))
      .map(({ path }) => path);
    expect(wrong).to.deep.equal([]);
  });

  it('only main.ts and tests read argv and the environment', () => {
    const wrong = sources
      .filter(({ path }) => path.startsWith('packages/') && !path.endsWith('/main.ts') && !isTest(path))
      .filter(({ text }) => /process\.(argv|env)\b/.test(text))
      .map(({ path }) => path);
    expect(wrong).to.deep.equal([]);
  });

  it('files tell one story: at most 500 lines', () => {
    const long = sources
      .map(({ path, text }) => ({ path, lines: text.split('\n').length }))
      .filter(({ lines }) => lines > 500)
      .map(({ path, lines }) => `${path}: ${lines}`);
    expect(long).to.deep.equal([]);
  });

  it('nothing is silenced or left undone', () => {
    const smells = /\b(TODO|FIXME|XXX)\b|@ts-(ignore|nocheck|expect-error)|not implemented|\.only\(/;
    const wrong = handWritten.filter(({ text }) => smells.test(text)).map(({ path }) => path);
    expect(wrong).to.deep.equal([]);
  });

  it('nothing but the words for people names a place of some machine', () => {
    // At the start of a string, that is: an example in a help text may say where.
    const places = /['"`]\/((work|mnt|Users)(\/|['"`])|(root|home|tmp)\/)/;
    const wrong = sources
      .filter(({ path, text }) => path.startsWith('packages/') && !isTest(path) && places.test(text))
      .map(({ path }) => path);
    expect(wrong).to.deep.equal([]);
  });

  it('module names say what they hold', () => {
    const vague = /(^|\/)(utils?|helpers?|common|misc|manager)(\/|\.|-)|-(utils?|helpers?|manager)\.ts$/;
    expect(sources.map(({ path }) => path).filter((path) => vague.test(path))).to.deep.equal([]);
  });
});
