import { expect } from 'chai';

import { stateOf, type SourceFacts } from '../fleet/source-state.ts';
import { attentionFor } from './attention.ts';

const source = {
  id: 's',
  hostId: 'h',
  hostName: 'web-1',
  domainId: 'd',
  name: 'cache',
  spec: Buffer.alloc(0),
  watching: 'scheduled',
  watchingNote: 'the last backup failed: connection refused',
  removedAt: null,
  logStatus: null,
  logReportedAt: null,
};
const newest = { ageMs: 40 * 86_400_000, durationMs: 700, suspect: false };
const facts: SourceFacts = { log: undefined, status: undefined, reportAgeMs: undefined, hostAgeMs: 1000, newest };

function said(given: SourceFacts, watchingNote = source.watchingNote): string[] {
  const known = { source: { ...source, watchingNote }, newest: undefined, facts: given, state: stateOf(given) };
  return attentionFor({ hosts: [], sources: [known], others: [] }).map(({ message }) => message ?? '');
}

describe('what a person should look at', () => {
  it('a source that keeps no log, and whose backups fail', () => {
    expect(said(facts)).to.include('the last backup failed: connection refused');
    expect(said(facts, '')).to.deep.equal(['it was never backed up']);
  });

  it('what is said of a followed log, once', () => {
    const nowhere = { order: 0n, text: '' };
    const status = {
      state: 'waiting' as const,
      stream: undefined,
      stored: nowhere,
      lagBytes: 0,
      lagMs: 0,
      completeToMs: 0,
      slot: undefined,
      note: source.watchingNote,
    };
    const messages = said({ ...facts, status, reportAgeMs: 1000 });
    expect(messages.filter((message) => message === source.watchingNote)).to.have.length(1);
  });
});
