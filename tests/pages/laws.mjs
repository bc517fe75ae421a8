// What the tests hold the pages to: a line for each law, and the count of those that were kept.

const LAW_SECONDS_MAX = 60;

/** A check that did not hold, in words for a person. */
export class Failure extends Error {}

export function expect(held, otherwise) {
  if (!held) throw new Failure(typeof otherwise === 'string' ? otherwise : JSON.stringify(otherwise));
}

/** The work's result, or a failure once the seconds are over. */
export async function within(seconds, what, work) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Failure(`after ${seconds} s still not: ${what}`)), seconds * 1000);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

export async function waitUntil(what, seconds, ready) {
  const end = Date.now() + seconds * 1000;
  while (!(await ready())) {
    if (Date.now() > end) throw new Failure(`after ${seconds} s still not: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export class Laws {
  kept = 0;
  broken = 0;
  skipped = 0;

  /** Runs one law and says how it went; whether it was kept. */
  async law(text, check, seconds = LAW_SECONDS_MAX) {
    try {
      await within(seconds, text, check());
    } catch (error) {
      this.broken += 1;
      console.log(`FAIL  ${text}`);
      const words = error instanceof Failure ? error.message : error.stack;
      console.log(words.replace(/^/gm, '      '));
      return false;
    }
    this.kept += 1;
    console.log(`ok    ${text}`);
    return true;
  }

  skip(text, why) {
    this.skipped += 1;
    console.log(`skip  ${text}: ${why}`);
  }

  sum() {
    const skipped = this.skipped ? `, ${this.skipped} skipped` : '';
    return `${this.kept} kept, ${this.broken} broken${skipped}`;
  }
}
