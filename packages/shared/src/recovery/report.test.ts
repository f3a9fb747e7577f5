import { generateKeyPairSync } from 'node:crypto';

import { expect } from 'chai';
import fc from 'fast-check';

import { HoldfastError } from '../base/errors.ts';
import { reportHtml } from './report-html.ts';
import { reportMarkdown } from './report-markdown.ts';
import {
  isSigned,
  keyFingerprint,
  keyPem,
  parseReportDocument,
  reportDocument,
  signReport,
} from './report-signature.ts';
import { canonicalJson } from './report-json.ts';
import { decodeReport, encodeReport, makeReport, type RunFacts, type StepFacts } from './report.ts';
import { measureRun } from './report-times.ts';

const AT = Date.UTC(2026, 10, 23, 4);
const HOSTILE = '</script><script>alert(1)</script> | cell\n```\n# heading <img src=x> & "quoted"';

function step(id: string, fields: Partial<StepFacts> = {}): StepFacts {
  return {
    id,
    type: 'command',
    host: 'web-2',
    state: 'ok',
    attempt: 1,
    needs: [],
    startedAtMs: AT + 12_000,
    finishedAtMs: AT + 13_500,
    message: 'done',
    remedy: '',
    output: '',
    facts: {},
    ...fields,
  };
}

const facts: RunFacts = {
  controllerVersion: '0.1.0',
  domain: 'default',
  plan: {
    id: 'p1',
    name: 'shop',
    owner: 'ops@shop.test',
    revision: 3,
    appliedAtMs: AT - 86_400_000,
    appliedBy: 'erika',
    document: 'apiVersion: holdfast/v1\nmetadata: {name: shop}\n',
    rtoMs: 900_000,
    rpoMs: 1000,
  },
  run: {
    id: '7d0c2c9e-1111-4111-8111-111111111111',
    mode: 'unplanned',
    state: 'done',
    reason: '',
    fromHost: 'web-1',
    toHost: 'web-2',
    epoch: 4,
    startedBy: 'detection',
    startedAtMs: AT + 11_000,
    finishedAtMs: AT + 20_000,
    recoveryPointMs: AT - 2500,
    pointFindings: ['files changed as a whole at 03:00 (most files are gone): the point is before that'],
    moments: { lastSignOfLife: AT, declaredDead: AT + 8000, fenced: AT + 11_900, healthy: AT + 16_400 },
  },
  steps: [step('fence', { type: 'fence' }), step('start', { output: HOSTILE, attempt: 2, message: HOSTILE })],
  events: [
    { sequence: 1, atMs: AT + 11_000, actor: 'engine', step: '', kind: 'state', message: 'running' },
    { sequence: 2, atMs: AT + 14_000, actor: 'erika', step: 'start', kind: 'action', message: 'retry: disk was full' },
  ],
};
const { privateKey } = generateKeyPairSync('ed25519');
const signed = signReport(encodeReport(makeReport(facts)), privateKey);

describe('recovery reports', () => {
  it('measures from the last sign of life to healthy, and from the recovery point to the last sign of life', () => {
    const { objectives } = makeReport(facts);
    expect(objectives.rto).to.deep.equal({ promisedMs: 900_000, measuredMs: 16_400, met: true });
    expect(objectives.rpo).to.deep.equal({ promisedMs: 1000, measuredMs: 2500, met: false });
    const open = { ...facts.run, moments: { lastSignOfLife: AT } };
    expect(measureRun(open)).to.deep.equal({ rtoMs: undefined, rpoMs: 2500 });
    expect(makeReport({ ...facts, run: open }).objectives.rto.met).to.equal(null);
  });

  it('a drill counts from its start, whatever else it saw', () => {
    const drill = { ...facts.run, mode: 'drill', moments: { lastSignOfLife: AT, started: AT + 15_000 } };
    expect(measureRun(drill)).to.deep.equal({ rtoMs: 4000, rpoMs: 13_500 });
  });

  it('E1 the same facts give the same bytes, in whatever order their members stand', () => {
    const turned = Object.fromEntries(Object.entries(facts).toReversed()) as unknown as RunFacts;
    expect(encodeReport(makeReport(turned)).equals(signed.report)).to.equal(true);
    // The examples of RFC 8785, 3.2.2 and 3.2.3.
    expect(
      canonicalJson({
        numbers: [JSON.parse('333333333.33333329'), 1e30, 4.5, 2e-3, 1e-27],
        literals: [null, true, false],
      }),
    ).to.equal('{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27]}');
    const keys = { '\u20ac': 1, '\r': 2, '\ufb33': 3, '1': 4, '\ud83d\ude00': 5, '\u0080': 6, '\u00f6': 7 };
    expect(Object.values(JSON.parse(canonicalJson(Object.entries(keys))) as unknown[])).to.have.length(7);
    expect([...canonicalJson(keys).matchAll(/:(\d)/g)].map(([, value]) => value).join('')).to.equal('2467153');
  });

  it('canonical JSON says what JSON says', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = canonicalJson(value);
        expect(canonicalJson(JSON.parse(text))).to.equal(text);
        expect(JSON.parse(text)).to.deep.equal(JSON.parse(JSON.stringify(value)));
      }),
      { numRuns: 200 },
    );
  });

  it('E2 a report is bounded: long texts lose their middle, many events too, and it says so', () => {
    const events = Array.from({ length: 5000 }, (_, at) => ({
      ...facts.events[1]!,
      sequence: at,
      message: 'm'.repeat(5000),
    }));
    const report = makeReport({ ...facts, events, steps: [step('loud', { output: `first${'x'.repeat(1e6)}last` })] });
    expect(report.events).to.have.length(2000);
    expect(report.eventsLeftOut).to.equal(3000);
    expect(report.events.at(-1)?.sequence).to.equal(4999);
    expect(report.steps[0]?.output).to.match(/^first[^]*characters left out[^]*last$/);
    expect(encodeReport(report).length).to.be.below(4 * 1024 * 1024);
    const worst = '"\u0001ü\\'.repeat(2000);
    const many = Array.from({ length: 500 }, (_, at) =>
      step(`s${at}`, {
        output: worst,
        message: worst,
        remedy: worst,
        facts: Object.fromEntries(Array.from({ length: 100 }, (__, n) => [`fact ${n}`, worst])),
      }),
    );
    const huge = { ...facts, plan: { ...facts.plan, document: '"'.repeat(262_144) }, steps: many };
    expect(encodeReport(makeReport(huge)).length).to.be.below(4 * 1024 * 1024);
  });

  it('no text in it drives a terminal', () => {
    const shown = makeReport({ ...facts, steps: [step('red', { output: '\u001b[31mred\u009b0m\r\n\tok\u0007' })] });
    expect(shown.steps[0]?.output).to.equal('\ufffd[31mred\ufffd0m\n\tok\ufffd');
  });

  it('E3 what is read back from JSON or HTML has the bytes that were signed', () => {
    for (const text of [
      reportDocument(signed),
      JSON.stringify(JSON.parse(reportDocument(signed)), null, 4),
      reportHtml(signed),
    ]) {
      const read = parseReportDocument(text);
      expect(read.report.equals(signed.report)).to.equal(true);
      expect(isSigned(read)).to.equal(true);
    }
    expect(() => parseReportDocument('{}')).to.throw(HoldfastError, 'no recovery report');
    expect(() => parseReportDocument('<html>')).to.throw(HoldfastError, 'no recovery report');
  });

  it('a report with one changed letter, or under another key, is not signed', () => {
    const changed = reportDocument(signed).replace('"startedBy":"detection"', '"startedBy":"detectiom"');
    expect(isSigned(parseReportDocument(changed))).to.equal(false);
    const other = signReport(signed.report, generateKeyPairSync('ed25519').privateKey);
    expect(isSigned({ ...signed, publicKey: other.publicKey })).to.equal(false);
    expect(isSigned({ ...signed, publicKey: Buffer.alloc(3) })).to.equal(false);
    expect(keyFingerprint(other.publicKey)).to.not.equal(keyFingerprint(signed.publicKey));
    expect(keyPem(signed.publicKey)).to.match(/^-----BEGIN PUBLIC KEY-----\n[A-Za-z0-9+/=]{60}\n-----END/);
  });

  it('HTML escapes what strangers wrote, loads nothing, runs nothing, and prints', () => {
    const html = reportHtml(signed);
    expect(html).to.not.contain('<script>').and.to.not.contain('<img');
    expect(html.match(/<\/script>/g)).to.have.length(1);
    expect(html).to.not.match(/<[^>]*\b(src|href)=/);
    expect(html).to.contain('&lt;/script&gt;').and.contain('@media print').and.contain("default-src 'none'");
    expect(html)
      .to.contain('16.4 s')
      .and.contain('within the 15 min 00 s promised')
      .and.contain('beyond the 1.0 s promised');
    const opened = [...html.matchAll(/<(section|table|tr|td|dl|div|pre|thead|tbody|header)\b/g)].length;
    expect([...html.matchAll(/<\/(section|table|tr|td|dl|div|pre|thead|tbody|header)>/g)]).to.have.length(opened);
    expect(reportHtml({ ...signed, signature: Buffer.alloc(0) })).to.contain('Not signed');
  });

  it('Markdown keeps rows rows and outputs outputs', () => {
    const text = reportMarkdown(decodeReport(signed.report), 'f00');
    const lines = text.split('\n');
    const stepRow = lines.find((line) => line.startsWith('| start |'));
    expect(stepRow?.match(/(?<!\\)\|/g)).to.have.length(9);
    expect(lines.filter((line) => line.startsWith('````'))).to.have.length(2);
    expect(text).to.contain('`f00`').and.contain('retry: disk was full').and.contain('+16.4 s');
  });
});
