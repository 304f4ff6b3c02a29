/** Rows of `catalogue.sqlite` by product id, by filter, by popularity (edge_runtime/product_rows.py). */
import { rowsOf } from "./catalogue.js";
import { BundleFormatError, reasonOf } from "./errors.js";
import { compileWhere } from "./filters.js";
import { bestRows } from "./ranking.js";
import { Remembered } from "./remembered.js";
import {} from "./rows_database.js";
const CACHED_FILTERS = 32;
/** The product table of a bundle. */
export class ProductRows {
    database;
    products;
    masks = new Remembered(CACHED_FILTERS);
    popularities;
    order;
    names;
    /**
     * Check the table's length.
     *
     * @throws BundleFormatError the table does not have rows 0 … `products` - 1.
     */
    constructor(database, products) {
        this.database = database;
        this.products = products;
        const found = database.fetch("SELECT count(*), min(row), max(row) FROM products")[0] ?? [];
        if (String(found) !== String([products, 0, products - 1])) {
            throw new BundleFormatError(`the product table has ${String(found[0])} rows from ${String(found[1])} to ${String(found[2])}, the manifest ` +
                `says ${String(products)} from 0; get the bundle again`);
        }
    }
    /** Return the row of each product that the catalogue knows; others are left out. */
    rowsOf(productIds) {
        const sql = "SELECT product_id, row FROM products WHERE product_id IN ({})";
        return new Map(this.database.fetchByKeys(sql, productIds));
    }
    /** Return the product ids of `rows`, in their order. */
    idsOf(rows) {
        const sql = "SELECT row, product_id FROM products WHERE row IN ({})";
        const found = new Map(this.database.fetchByKeys(sql, Array.from(rows)));
        return Array.from(rows, (row) => found.get(row));
    }
    /** Return one row for display. */
    product(row) {
        const sql = "SELECT product_id, title, description, brand, category, attributes, price, product_group " +
            "FROM products WHERE row = ?";
        const [productId, title, description, brand, category, attributes, price, group] = this.database.fetch(sql, [
            row,
        ])[0];
        let values;
        try {
            values = JSON.parse(String(attributes));
        }
        catch (error) {
            throw new BundleFormatError(`attributes of row ${String(row)} are not JSON (${reasonOf(error)}); get the bundle again`);
        }
        return {
            productId: String(productId),
            title: String(title),
            description: description,
            brand: brand,
            category: category,
            attributes: values,
            price: price,
            group: group,
        };
    }
    /**
     * Return which rows fulfil the filter.
     *
     * @throws ConfigError an unknown field, or a value of the wrong kind.
     */
    matching(where) {
        const { condition, parameters } = compileWhere(where, () => this.attributeNames());
        return this.masks.get(JSON.stringify([condition, parameters]), () => {
            const mask = new Uint8Array(this.products);
            this.database.each(`SELECT row FROM products WHERE ${condition}`, parameters, (row) => {
                mask[row.getInt(0)] = 1;
            });
            return mask;
        });
    }
    /** Return the most popular rows, ties by row; the scores are the popularity that the builder gave. */
    mostPopular(count, eligible) {
        const popularity = this.popularity();
        this.order ??= bestRows(rowsOf(null, this.products), popularity, this.products).rows;
        const rows = (eligible === null ? this.order : this.order.filter((row) => eligible[row] === 1)).slice(0, count);
        return { rows, scores: Float32Array.from(rows, (row) => popularity[row]) };
    }
    /** Return the popularity of each row. */
    popularity() {
        this.popularities ??= Float32Array.from(this.database.fetch("SELECT popularity FROM products ORDER BY row"), (row) => row[0]);
        return this.popularities;
    }
    /** Return the attributes that the catalogue knows. */
    attributeNames() {
        this.names ??= new Set(this.database.fetch("SELECT name FROM attribute_names").map((row) => String(row[0])));
        return this.names;
    }
}
