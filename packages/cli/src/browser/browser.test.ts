import { expect } from 'chai';
import type { EntryInfo, SnapshotInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { chosenPaths, initialState, loaded, press, versionsFound, type BrowserState, type Step } from './state.ts';
import { screenLines } from './view.ts';

function snapshot(byte: string): SnapshotInfo {
  const times = { committedAtMs: 1_000_000n, startedAtMs: 0n };
  return {
    id: Buffer.from(byte.repeat(32), 'hex'),
    source: 'web-1/site',
    sequence: 1n,
    ...times,
    stats: undefined,
    partial: false,
    warnings: 0n,
    damaged: false,
    point: undefined,
  };
}

function entry(path: string, type = 'file'): EntryInfo {
  const owner = { uid: 0, gid: 0, user: 'root', group: 'root' };
  const device = { deviceMajor: 0, deviceMinor: 0 };
  return {
    path: Buffer.from(path, 'latin1'),
    type,
    mode: 0o644,
    ...owner,
    size: 10n,
    mtimeSeconds: 1n,
    mtimeNs: 0,
    linkTarget: Buffer.alloc(0),
    links: 1,
    ...device,
    xattrNames: [],
  };
}

const start = loaded(initialState(snapshot('ab')), Buffer.alloc(0), [
  entry('conf', 'directory'),
  entry('a'),
  entry('b\x1b[2J\xff'),
]);

function keys(state: BrowserState, ...names: string[]): Step {
  let step: Step = { state };
  for (const name of names) step = press(step.state, { name, text: name.length === 1 ? name : '' }, 10);
  return step;
}

describe('the snapshot browser', () => {
  it('moves within the list and no further', () => {
    expect(keys(start, 'down').state.cursor).to.equal(1);
    expect(keys(start, 'up').state.cursor).to.equal(0);
    expect(keys(start, 'pagedown', 'down').state.cursor).to.equal(2);
    expect(keys(start, 'end', 'home').state.cursor).to.equal(0);
    expect(keys(initialState(snapshot('ab')), 'down', 'return', 'space', 'v').state.cursor).to.equal(0);
  });

  it('opens a directory, shows the details of a file, and goes up to where it came from', () => {
    expect(keys(start, 'return').request).to.deep.equal({ kind: 'open', directory: Buffer.from('conf') });
    expect(keys(start, 'down', 'return').state.mode.kind).to.equal('details');
    const inside = loaded(start, Buffer.from('conf/deep'), []);
    expect(keys(inside, 'left').request).to.deep.equal({
      kind: 'open',
      directory: Buffer.from('conf'),
      cursorOn: Buffer.from('conf/deep'),
    });
    expect(keys(start, 'left').request).to.equal(undefined);
    expect(loaded(start, Buffer.alloc(0), start.entries, Buffer.from('a')).cursor).to.equal(1);
  });

  it('restores what is marked, or else what the cursor is on, and checks the destination first', () => {
    const marked = keys(start, 'space', 'space').state;
    expect(chosenPaths(marked).map(String)).to.deep.equal(['conf', 'a']);
    expect(chosenPaths(keys(start, 'down').state).map(String)).to.deep.equal(['a']);
    const typed = keys(marked, 'r', ...'web-2:/x'.split(''));
    expect(keys(typed.state, 'return').request).to.deep.include({ kind: 'restore', to: 'web-2:/x' });
    const wrong = keys(start, 'r', ...'web-2'.split(''), 'return');
    expect(wrong.request).to.equal(undefined);
    expect(wrong.state.message).to.contain('is not a host and a directory');
    expect(keys(wrong.state, 'escape').state.mode.kind).to.equal('list');
  });

  it('goes from a version of a file to its snapshot', () => {
    expect(keys(start, 'v').state.message).to.contain('Versions are of files');
    expect(keys(start, 'down', 'v').request).to.deep.equal({ kind: 'versions', path: Buffer.from('a') });
    const old = { snapshot: snapshot('cd'), entry: entry('a'), snapshots: 3 };
    const step = keys(
      versionsFound(start, [{ snapshot: snapshot('ab'), entry: entry('a'), snapshots: 1 }, old]),
      'down',
      'return',
    );
    expect(step.state.snapshot).to.deep.equal(old.snapshot);
    expect(step.request).to.deep.equal({ kind: 'open', directory: Buffer.alloc(0), cursorOn: Buffer.from('a') });
  });

  it('q and escape quit from the list, and only from there', () => {
    expect(keys(start, 'q').request).to.deep.equal({ kind: 'quit' });
    expect(keys(start, 'escape').request).to.deep.equal({ kind: 'quit' });
    expect(keys(start, 'down', 'return', 'q').request).to.equal(undefined);
  });

  it('draws every screen in the terminal’s size, and no name can drive the terminal', () => {
    const details = keys(start, 'end', 'return').state;
    const destination = keys(start, 'r', ...'web-2'.split('')).state;
    const versions = versionsFound(start, [{ snapshot: snapshot('ab'), entry: entry('a'), snapshots: 1 }]);
    for (const state of [start, details, destination, versions, initialState(snapshot('ab'))]) {
      for (const [columns, rows] of [
        [80, 24],
        [40, 10],
        [20, 6],
      ] as const) {
        const lines = screenLines(state, columns, rows);
        expect(lines).to.have.length(rows);
        // Only our own reverse video may be in it.
        const visible = lines.map((line) => line.replace('\x1b[7m', '').replace('\x1b[0m', ''));
        for (const line of visible) expect(line.length).to.be.at.most(columns);
        expect(visible.join('')).to.not.contain('\x1b');
      }
    }
  });
});
