//! Who lives on the map: customers with their habits, terminals with their places.

use super::chance::Chance;
use super::{Settings, cents};

/// The map is a square of this side.
const SIDE: f64 = 100.0;

#[derive(Debug)]
pub(super) struct Population {
    pub(super) customers: Vec<Customer>,
    pub(super) terminals: Vec<Place>,
}

/// A customer and what it is used to.
#[derive(Debug)]
pub(super) struct Customer {
    pub(super) id: i64,
    /// Mean number of transactions a day.
    pub(super) a_day: f64,
    mean_amount: f64,
    /// Terminals within reach.
    pub(super) terminals: Vec<i64>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    x: f64,
    y: f64,
}

impl Population {
    pub(super) fn new(settings: &Settings, chance: &mut Chance) -> Population {
        let (mut of_terminals, mut of_customers) = (chance.branch(), chance.branch());
        let terminals: Vec<Place> = (0..settings.terminals).map(|_| Place::any(&mut of_terminals)).collect();
        let customers = (0..settings.customers).map(|id| {
            let home = Place::any(&mut of_customers);
            Customer {
                id: i64::from(id),
                a_day: of_customers.uniform(0.0, 4.0),
                mean_amount: of_customers.uniform(5.0, 100.0),
                terminals: (0..).zip(&terminals).filter(|(_, t)| t.is_within(settings.radius, home)).map(|(id, _)| id).collect(),
            }
        });
        Population { customers: customers.collect(), terminals }
    }
}

impl Customer {
    /// What it pays: around its mean, never less than nothing, in cents.
    pub(super) fn amount(&self, chance: &mut Chance) -> f64 {
        let amount = chance.normal(self.mean_amount, self.mean_amount / 2.0);
        cents(if amount < 0.0 { chance.uniform(0.0, 2.0 * self.mean_amount) } else { amount })
    }
}

impl Place {
    fn any(chance: &mut Chance) -> Place {
        Place { x: chance.uniform(0.0, SIDE), y: chance.uniform(0.0, SIDE) }
    }

    fn is_within(self, radius: f64, other: Place) -> bool {
        let (dx, dy) = (self.x - other.x, self.y - other.y);
        dx * dx + dy * dy < radius * radius
    }
}
