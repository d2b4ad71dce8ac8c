/** For the command line, which knows of nothing below the API. */
export { shellQuote } from '../../devices/shell-quote.js';
