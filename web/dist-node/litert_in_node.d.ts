/** LiteRT.js is made for browsers; this lends it what it looks for there, so that it also runs in Node. */
/** Load the script `name` of the installed package `@litertjs/core`. */
export declare function loadLiteRtInNode(name: string): Promise<void>;
